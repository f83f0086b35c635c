"""A cyclic ensemble method of your own: snapshots of one training run, whose probabilities are averaged.

grid: {ensembles: [snapshot, docs/examples/snapshot_fast.py:snapshot_fast]}
"""

from jacobian_ensembles.ensembles.methods import Method

snapshot_fast = Method(average="probabilities", cyclic=True)
