"""What every loaded model does, whatever its loader."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch

from bioterp.errors import InputError
from bioterp.models import load_model


def letters(codes: np.ndarray) -> str:
    return "".join("ACGTN"[code] for code in codes)


def test_names(model, entry):
    assert model.modality == "dna"
    assert model.name == entry.name
    assert len(model.layers) == entry.blocks
    names = dict(model.module.named_modules())
    assert all(model.layers[i] == model.resolve(i) == model.resolve(i - entry.blocks) for i in range(entry.blocks))
    assert all(name in names for name in model.layers)
    assert model.resolve(model.layers[1]) == model.layers[1]
    assert model.resolve("output") == "output"
    assert model.device == torch.device("cpu")
    assert model.dtype == "float32"


def test_every_cell_is_on_its_bases(model, entry, arrays):
    batch = model.prepare(arrays)
    for array, cells in zip(arrays, batch.cells, strict=True):
        assert (cells.space.name, cells.space.unit, cells.step) == ("index", "cell", 1)
        assert [tuple(b) for b in np.asarray(cells.bounds).tolist()] == entry.truth(letters(array))


def test_one_forward_many_layers_keyed_as_asked(model, entry, arrays):
    batch = model.prepare(arrays)
    layers = [0, -1, model.layers[1], np.int64(1)]
    found = model.run(batch, layers)
    assert list(found) == [0, -1, model.layers[1], 1]
    cells = max(grid.size for grid in batch.cells)
    for layer, values in found.items():
        assert values.shape[:2] == (3, cells)
        assert values.shape[2] == model.width(layer)
        assert values.dtype == torch.float32
        assert torch.isfinite(values).all()
    assert torch.equal(found[1], found[model.layers[1]])
    assert not torch.equal(found[0], found[-1])


def test_a_cell_does_not_depend_on_the_batch(model, entry, arrays):
    layers = [0, -1, "output"]
    together = model.run(model.prepare(arrays), layers)
    for i, array in enumerate(arrays):
        batch = model.prepare([array])
        alone = model.run(batch, layers)
        n = batch.cells[0].size
        for layer in layers:
            torch.testing.assert_close(together[layer][i, :n], alone[layer][0], atol=2e-5, rtol=1e-4)
            assert not together[layer][i, n:].any()


def test_layers_asked_alone_equal_layers_asked_together(model, arrays):
    """A run that stops after the deepest layer gives what a whole run gives."""
    batch = model.prepare(arrays)
    whole = model.run(batch, [0, 1, "output"])
    for _ in range(2):
        for layer in (0, 1):
            assert torch.equal(model.run(batch, [layer])[layer], whole[layer])


def state(model):
    module = model.module
    return (
        {name: tensor.clone() for name, tensor in module.state_dict().items()},
        [m.training for m in module.modules()],
        [(p.requires_grad, p.grad, p.dtype, p.device) for p in module.parameters()],
        [len(hooks) for m in module.modules() for hooks in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks)],
        torch.get_rng_state(),
        torch.is_grad_enabled(),
    )


def same(before, after):
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(before[0][key], after[0][key]) for key in before[0])
    assert before[1] == after[1]
    assert before[2] == after[2]
    assert before[3] == after[3]
    assert torch.equal(before[4], after[4])
    assert before[5] == after[5]


def broken(_values):
    raise ZeroDivisionError("an edit of the user's")


@pytest.mark.parametrize("how", ["run", "early", "edit", "broken edit", "grad"])
def test_the_model_is_left_as_found(model, arrays, how):
    batch = model.prepare(arrays[:1])
    model.run(batch, [0])
    first = list(model.module.modules())[3]
    first.train()  # a user's own odd state, in the middle of the network
    before = state(model)
    try:
        with contextlib.suppress(ZeroDivisionError):
            model.run(
                batch,
                [0] if how == "early" else [0, "output"],
                edit={
                    "edit": {0: lambda values: values * 0},
                    "broken edit": {1: broken},
                }.get(how),
                grad=how == "grad",
            )
        same(before, state(model))
    finally:
        model.module.eval()


def test_train_mode_of_the_user_does_not_change_values(model, arrays):
    batch = model.prepare(arrays[:1])
    calm = model.run(batch, [-1])[-1]
    model.module.train()
    try:
        assert torch.equal(model.run(batch, [-1])[-1], calm)
    finally:
        model.module.eval()


def test_unpack_and_pack_are_inverses(model, arrays):
    seen = []

    def keep(_module, _inputs, output):
        seen.append(output[0] if isinstance(output, tuple) else output)

    for part in model.prepare(arrays).parts:
        handle = model.module.get_submodule(model.layers[0]).register_forward_hook(keep)
        try:
            with torch.no_grad():
                model._call(part.inputs)()
        finally:
            handle.remove()
        hidden = seen.pop()
        values = part.layout.unpack(hidden, "a")
        assert torch.equal(part.layout.pack(values, hidden, "a"), hidden)
        other = torch.randn_like(values)
        back = part.layout.unpack(part.layout.pack(other, hidden, "a"), "a")
        for i, n in enumerate(part.layout.counts):
            assert torch.equal(back[i, :n], other[i, :n])
        # Exactly the cells are replaced; special tokens, padding and flanks are not.
        ones = part.layout.pack(torch.ones_like(values), torch.zeros_like(hidden), "a")
        assert ones.sum() == sum(part.layout.counts) * values.shape[2]


def test_identity_changes_nothing_and_zeros_change_what_follows(model, arrays):
    batch = model.prepare(arrays)
    plain = model.run(batch, [0, 1, "output"])
    same_values = model.run(batch, [0, 1, "output"], edit={0: lambda values: values.clone()})
    for layer in plain:
        assert torch.equal(plain[layer], same_values[layer])
    zeroed = model.run(batch, [0, 1, "output"], edit={0: torch.zeros_like})
    assert not zeroed[0].any()
    assert not torch.allclose(zeroed[1], plain[1])
    assert not torch.allclose(zeroed["output"], plain["output"])
    assert torch.equal(model.run(batch, [0])[0], plain[0])


def test_an_edit_in_place_works_and_one_of_another_shape_is_refused(model, arrays):
    batch = model.prepare(arrays)
    plain = model.run(batch, [1, "output"], edit={1: lambda values: values + 1})
    placed = model.run(batch, [1, "output"], edit={1: lambda values: values.add_(1)})
    assert torch.equal(plain["output"], placed["output"])
    with pytest.raises(InputError, match="wanted a tensor of shape"):
        model.run(batch, [1], edit={1: lambda values: values[:, :-1]})


def test_gradients_reach_the_layer_and_no_parameter(model, arrays):
    batch = model.prepare(arrays[:1])
    found = model.run(batch, [0, "output"], grad=True)
    (gradient,) = torch.autograd.grad(found["output"].square().sum(), found[0])
    assert gradient.shape == found[0].shape
    assert gradient.abs().sum() > 0
    assert all(p.grad is None for p in model.module.parameters())
    # by finite difference, against one direction
    step = torch.zeros_like(found[0])
    step[0, 7, :2] = 1e-2
    up = model.run(batch, ["output"], edit={0: lambda values: values + step})["output"].square().sum()
    down = model.run(batch, ["output"], edit={0: lambda values: values - step})["output"].square().sum()
    torch.testing.assert_close((up - down) / 2, (gradient * step).sum(), rtol=0.05, atol=2e-3)


def test_a_wrong_layer_is_told(model, entry):
    with pytest.raises(InputError) as told:
        model.resolve(model.layers[1] + "x")
    assert model.layers[1] in str(told.value)
    with pytest.raises(InputError, match=f"{entry.blocks} blocks"):
        model.resolve(entry.blocks)
    with pytest.raises(InputError, match=f"got layer {-entry.blocks - 1}"):
        model.resolve(-entry.blocks - 1)
    with pytest.raises(InputError, match="a layer is an integer or a module's name"):
        model.resolve(1.5)
    with pytest.raises(InputError, match="a layer is"):
        model.resolve(True)


def test_other_modalities_are_refused(model, arrays):
    with pytest.raises(InputError, match="one-dimensional uint8"):
        model.prepare([np.zeros((4, 5, 6), np.float32)])
    with pytest.raises(InputError, match="one-dimensional uint8"):
        model.prepare([arrays[0].astype(np.int64)])
    with pytest.raises(InputError, match="base codes are"):
        model.prepare([arrays[0] + 5])
    with pytest.raises(InputError, match="at least one base"):
        model.prepare([arrays[0][:0]])
    with pytest.raises(InputError, match="at least one array"):
        model.prepare([])
    with pytest.raises(InputError, match="a list of layers"):
        model.run(model.prepare(arrays), "output")


def test_a_context_too_long_is_told_with_its_numbers(model, entry):
    if model.context is None:
        pytest.skip("takes any length")
    array = np.tile(np.array([0, 1, 3, 2, 2], np.uint8), 600)
    cells = len(entry.truth(letters(array)))
    with pytest.raises(InputError, match=f"3000 bases makes {cells} .* at most {model.context}"):
        model.prepare([array])
    with pytest.raises(InputError, match=f"3000 bases makes .* at most {model.context}"):
        model.check_length(3000)
    model.check_length(24)


def test_the_longest_context_runs(model, entry):
    if model.context is None:
        pytest.skip("takes any length")
    long = np.random.default_rng(2).integers(0, 4, 3000).astype(np.uint8)
    spans = entry.truth(letters(long))
    n = next(end for start, end in reversed(spans[: model.context]))
    while len(entry.truth(letters(long[:n]))) > model.context:
        n -= 1
    batch = model.prepare([long[:n]])
    assert batch.cells[0].size >= model.context - 5
    assert torch.isfinite(model.run(batch, [-1])[-1]).all()


def test_random_weights_are_seeded_and_differ(model, entry, arrays):
    options = {**entry.options, "weights": "random"}
    if entry.name == "pangolin":
        pytest.skip("the full network; openspliceai-80nt goes the same way")
    rng = torch.get_rng_state()
    one, again, other = (load_model(entry.name, **options, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), rng)
    assert one.hash == again.hash != other.hash != model.hash
    assert one.layers == model.layers
    batch = one.prepare(arrays)
    assert torch.equal(one.run(batch, [1])[1], again.run(batch, [1])[1])
    assert not torch.equal(one.run(batch, [1])[1], other.run(batch, [1])[1])


def test_the_hash_is_that_of_the_weights(model, entry):
    rng = torch.get_rng_state()
    assert load_model(entry.name, **entry.options).hash == model.hash
    assert torch.equal(torch.get_rng_state(), rng)
    again = load_model(entry.name, **entry.options)
    with torch.no_grad():
        next(p for p in again.module.parameters() if p.dim() > 1).view(-1)[0] += 1e-3
    assert again.hash != model.hash


def test_options_are_checked(entry):
    with pytest.raises(InputError, match="takes no option 'contxt'"):
        load_model(entry.name, **entry.options, contxt=3)
    with pytest.raises(InputError, match="wanted float32"):
        load_model(entry.name, **entry.options, dtype="int8")


def test_bfloat16(entry, arrays):
    model = load_model(entry.name, **entry.options, dtype="bfloat16")
    assert model.dtype == "bfloat16"
    assert model.run(model.prepare(arrays), [1])[1].dtype == torch.bfloat16
