"""The trainers of other libraries: each library's own step, at its own defaults."""

from __future__ import annotations

from form import Peer
from peer_dictionary_learning import DictionaryLearning
from peer_overcomplete import Overcomplete
from peer_sae_lens import SaeLens, SaeLensScaled, SaeLensWhitened
from peer_sparsify import Sparsify

ALL = (DictionaryLearning, SaeLens, SaeLensScaled, SaeLensWhitened, Sparsify, Overcomplete)
PEERS: dict[str, type[Peer]] = {one.name: one for one in ALL}
