"""The claims of the chapter "Causal pruning", and what decides each of them.

The criteria stand here, before the full rows: see `CRITERIA`. When they were written, one network
of Fashion-MNIST had been seen: seed 0, 95% pruned, three epochs of post-training in batches of 512,
where causal came last. Post-training was made longer after that, alike for all: in batches of 64.

A pair is one network: a data set and a seed, so two data sets with three seeds give six. Accuracy
is that of the test set after the last epoch of post-training. "Ranking at allocation" says which
weights stay and whose threshold decided how many of each layer; one word stands for a ranking at
its own allocation. Where a ranking is judged at given counts, amounts at which the released rule
leaves a layer empty are left out: no ranking can do anything there. A claim is judged over the
networks that have every row it needs; where fewer than two have, it is "not tested here".

Paper: "A Granger-causal perspective on gradient descent with application to pruning".
"""

from __future__ import annotations

CLAIMS = {
    "beats magnitude": "Causal pruning is more accurate than magnitude pruning at the same amount "
    "(figure 1a).",
    "phase shift": "Accuracy falls more sharply with the amount than under magnitude pruning "
    "(figure 1a).",
    "finds the causes": "The weights that are kept are those that cause the loss to change "
    "(sections 2 and 3).",
    "gains by pruning": "Removing the non-causal weights almost always improves the accuracy "
    "(section 1).",
    "masks overlap": "The masks of causal and magnitude pruning overlap decently (figure 1b).",
    "beats magnitude, iterated": "Iterated causal pruning is more accurate than iterated magnitude "
    "pruning (table 2).",
    "robust to N_iter and N_prune": "Accuracy is robust to N_iter and N_prune (section 4.1, "
    "figure 2).",
    "L1_coeff decides the amount": "As L1_coeff increases, the percentage pruned increases "
    "(section 4.1, figure 2).",
}

CRITERIA = {
    "beats magnitude": "reproduced if, averaged over the amounts, causal is more accurate than "
    "magnitude, and at causal's counts per layer than magnitude and than random (three intervals "
    "above zero); partly if only than magnitude at its own counts",
    "phase shift": "reproduced if from 95% to 98% pruned causal loses more than magnitude and more "
    "than random at causal's counts (both intervals above zero), and is no less accurate than "
    "magnitude at 95% (mean); partly if it only loses more than magnitude",
    "finds the causes": "reproduced if causal is more accurate than the same ranking with the "
    "changes of the loss in another order, and than random, at causal's counts (both intervals "
    "above zero); partly if only than random",
    "gains by pruning": "reproduced if at 95% causal is more accurate than the dense network "
    "trained as long (interval above zero), partly if the interval holds zero",
    "masks overlap": "reproduced if causal and magnitude masks of equal amounts agree more than "
    "independent masks with their counts per layer (interval above zero) and the chance-corrected "
    "agreement is at least 0.2, partly if only more than independent masks",
    "beats magnitude, iterated": "reproduced if, at 95.99% after ten iterations, causal is more "
    "accurate than magnitude, than random at causal's counts and than the iterated run with the "
    "changes of the loss in another order (three intervals above zero); partly if only than "
    "magnitude",
    "robust to N_iter and N_prune": "reproduced if accuracy after ten iterations differs from that "
    "after one, and that of N_prune 5 from that of 2, by less than two points (both intervals "
    "inside), partly if both means do or one interval does",
    "L1_coeff decides the amount": "reproduced if each larger L1_coeff prunes more (every interval "
    "above zero), partly if every mean does",
}
