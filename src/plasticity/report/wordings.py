"""The sentences of a report, prepared. ``findings`` and its like choose among them by an interval.

``below``, ``above``: the interval excludes the reference. ``unclear``: it does not, which is no
evidence of equality. ``single``: one seed, no interval. ``none``: nothing was measured.
"""

from collections.abc import Mapping

from plasticity.report.numbers import Verdict

Wordings = Mapping[Verdict, str]

HEADS = {
    "dense": "A dense network of {final} units",
    "grow": "Growing {start} to {final} units",
    "prune": "Pruning {start} to {final} units",
    "static": "A static network of {final} units",
    "turnover": "Replacing units of a network of {final}",
    "grow_then_prune": "Growing {start} to {turn} units and pruning them to {final}",
    "prune_then_grow": "Pruning {start} to {turn} units and growing them to {final}",
    "single_event": "Growing {start} to {final} units in one event",
    "late_reveal": "A network of {final} units that learn only from their birth on",
}
"""How the title begins, for every operator."""
STRUCTURE = {
    "dense": "its {final} units never changed",
    "grow": "its structure went from {start} to {final} units on the way",
    "prune": "its structure went from {start} to {final} units on the way",
    "static": "its {final} units never changed",
    "turnover": "it always had {final} units, {replaced} of which were replaced in each seed on "
    "the way",
    "grow_then_prune": "its structure went from {start} over {turn} to {final} units",
    "prune_then_grow": "its structure went from {start} over {turn} to {final} units",
    "single_event": "its structure went from {start} to {final} units at once",
    "late_reveal": "its {final} units all took part from the start, but learned only from their "
    "birth on",
}

_FROM_TO = "Widths went from {start} to {final} in {events}, out of a capacity of {capacity}"
_OVER = (
    "Widths went from {start} over {turn} to {final} in {events}, out of a capacity of {capacity}"
)
_CONSTANT = "All {final} units were there from the first step to the last"
WIDTHS = {
    "dense": _CONSTANT,
    "grow": _FROM_TO,
    "prune": _FROM_TO,
    "static": _CONSTANT,
    "turnover": "Widths stayed at {final} while {events} replaced {replaced} units of each seed, "
    "out of a capacity of {capacity}",
    "grow_then_prune": _OVER,
    "prune_then_grow": _OVER,
    "single_event": _FROM_TO,
    "late_reveal": "All {final} units took part from the first step to the last; {events} let them "
    "begin to learn, out of a capacity of {capacity}",
}
"""What happened to the widths, where any event moved a unit."""

SMALL_STEP = (
    "The last step of every epoch is on {rest} training images in place of {batch}, which moves "
    "the weights more at random than the others do. Accuracy is measured right after that step."
)
"""Where the training images leave a rest of less than half a batch."""

NEWBORN_TITLE: Wordings = {
    "below": "newborns still got {ratio} the gradient of incumbents when their cycle ended",
    "unclear": "when their cycle ended, newborns' gradient could not be told from the incumbents'",
    "above": "newborns got {ratio} the gradient of incumbents when their cycle ended",
    "single": "newborns got {ratio} the gradient of incumbents when their cycle ended",
    "none": "no newborns to compare with incumbents",
}
DELTA_TITLE: Wordings = {
    "below": "retraining {units} from scratch lost {size}",
    "unclear": "retraining {units} from scratch made no clear difference ({delta})",
    "above": "retraining {units} from scratch gained {size}",
    "single": "retraining {units} from scratch changed it by {delta}",
    "none": "no retrained network to compare it with",
}
FIRED: Wordings = {
    "below": "fired less often than {others} ({ratio})",
    "unclear": "could not be told from {others} by how often they fired ({ratio})",
    "above": "fired more often than {others} ({ratio})",
    "single": "fired {ratio} as often as {others} in the one seed",
    "none": "had no activation to compare with {others}",
}
LEARNED: Wordings = {
    "below": "received less gradient ({ratio})",
    "unclear": "received a gradient that could not be told apart ({ratio})",
    "above": "received more gradient ({ratio})",
    "single": "received {ratio} the gradient",
    "none": "had no gradient to compare",
}
EVENT_COST: Wordings = {
    "below": "The epoch after an event lost {size} of test accuracy",
    "unclear": "The epoch after an event made no clear difference to test accuracy ({cost})",
    "above": "Test accuracy rose by {size} over the epoch after an event",
    "single": "In the one seed test accuracy changed by {cost} over the epoch after an event",
    "none": "Test accuracy ended at {acc}",
}
DELTA: Wordings = {
    "below": "Trained again from scratch, {units} lost {size}",
    "unclear": "Trained again from scratch, {units} came out neither clearly better nor clearly "
    "worse ({delta})",
    "above": "Trained again from scratch, {units} gained {size}",
    "single": "Trained again from scratch, {units} of the one seed changed by {delta}",
    "none": "There is no retrained network, so there are two measures, not three",
}
CONTROL: Wordings = {
    "below": "Random units of the same widths did better than the kept ones, by {size}",
    "unclear": "The kept units could not be told from random units of the same widths ({gap})",
    "above": "The kept units are worth more than their number: {size} over random units "
    "of the same widths",
    "single": "In the one seed the kept units differ from random ones of the same widths by {gap}",
    "none": "Whether the kept units are more than their number was not tested",
}
_BY_CHANCE = (
    "From fresh weights kept units are, on average, as good as any of the same widths; here they "
    "differ by {gap}"
)
CONTROL_FRESH: Wordings = {
    **CONTROL,
    "below": _BY_CHANCE,
    "unclear": _BY_CHANCE,
    "above": _BY_CHANCE,
}
"""The units of a layer are exchangeable then: a difference is chance, whatever its interval."""
LATER: Wordings = {
    "below": "Newborns of the last event started with less gradient, next to incumbents, than "
    "those of the first ({ratio})",
    "unclear": "Newborns of the first and the last event could not be told apart by their gradient "
    "at birth ({ratio})",
    "above": "Newborns of the last event started with more gradient, next to incumbents, than "
    "those of the first ({ratio})",
    "single": "In the one seed the gradient at birth changed by {ratio} from the first event to "
    "the last",
    "none": "There are too few events to compare the first with the last",
}
STREAM: Wordings = {
    "below": "online accuracy fell by {size} from the first task to the last",
    "unclear": "first and last task could not be told apart ({change})",
    "above": "online accuracy rose by {size} from the first task to the last",
    "single": "the one seed changed by {change} from the first task to the last",
    "none": "no seed finished",
}
CAUSE_MOMENTS = {"birth": "At birth", "end": "At the end of their cycle"}
CAUSE: Wordings = {
    "below": "get less gradient",
    "unclear": "get a gradient that cannot be told from the incumbents'",
    "above": "get more gradient",
    "single": "of the one seed differ most",
    "none": "have no gradient to compare",
}
"""Side of the gradient ratio; what follows names layers, and their cause if one dominates."""
BECAUSE = {
    ("below", "norm"): "in {layers} mainly through smaller outgoing weights",
    ("below", "gate"): "in {layers} mainly through gates that open less",
    ("below", "alignment"): "in {layers} mainly through outgoing weights less aligned with the "
    "error",
    ("above", "norm"): "in {layers} mainly through larger outgoing weights",
    ("above", "gate"): "in {layers} mainly through gates that open more",
    ("above", "alignment"): "in {layers} mainly through outgoing weights more aligned with the "
    "error",
}
"""Side of the gradient ratio and the cause that dominates -> what that means."""
NO_CAUSE: Wordings = {
    "below": "in {layers} without one cause that clearly outweighs the others",
    "unclear": "in {layers}",
    "above": "in {layers} without one cause that clearly outweighs the others",
    "single": "by their {name} in {layers}",
    "none": "in {layers}",
}
"""Wherever no cause dominates."""
CAUSE_NONE = "The causes of the gradient are not defined for this network's layers"
CAUSES_TEXT = (
    "A unit's gradient is the norm of its outgoing weights, times how often its gate is open, "
    "times the error of the next layer, times how well its outgoing weights are aligned with that "
    "error. The error is the same for newborns and incumbents, so three causes remain, each "
    "measured from arrays of its own; that they multiply to the gradient is a check, not a "
    "definition.",
    "A cause is named only if its interval excludes 1 on the side of the gradient ratio and it "
    "outweighs both others seed by seed. Layers are compared without a correction for their "
    "number: this is exploratory.",
)
CAUGHT_UP: Wordings = {
    "below": "Most newborn cohorts came to half the incumbents' gradient before their cycle ended; "
    "{count} did not ({share})",
    "unclear": "Whether most newborn cohorts come to half the incumbents' gradient before their "
    "cycle ends cannot be told; {count} did not ({share})",
    "above": "Most newborn cohorts had not come to half the incumbents' gradient when their cycle "
    "ended: {count} ({share})",
    "single": "In the one seed {count} newborn cohorts had not come to half the incumbents' "
    "gradient when their cycle ended ({share})",
    "none": "No newborn cohort was followed",
}
INTEGRATION_TEXT = (
    "A newborn cohort, the units born in one layer at one event, has caught up when its mean "
    "gradient, divided by the incumbents', reaches a level for three successive probes. One whose "
    "cycle ends before is not left out: it is known to take longer.",
    "Contribution is what a unit sends on, its mean activation times the norm of its outgoing "
    "weights, as a multiple of the fair share: what the layer's alive units send on average.",
)
MOVED: Wordings = {
    "below": "moved less than incumbents', relative to their size ({ratio})",
    "unclear": "moved neither clearly more nor clearly less than incumbents', relative to their "
    "size ({ratio})",
    "above": "moved more than incumbents', relative to their size ({ratio})",
    "single": "moved {ratio} as far as incumbents', relative to their size, in the one seed",
    "none": "had no update to compare",
}
MOVED_TOO: Wordings = {
    "below": "moved less ({ratio})",
    "unclear": "moved neither clearly more nor clearly less ({ratio})",
    "above": "moved more ({ratio})",
    "single": "moved {ratio} as far",
    "none": "had no update to compare",
}
UPDATES_TEXT = (
    "The gradient of a unit's input is not yet its learning speed: an optimizer may rescale it, "
    "and small weights change their direction with small steps. So this is |change| / |weights| "
    "of one optimizer step, newborns over incumbents. It needs a step, so it starts one step "
    "after birth.",
)
SHOCK: Wordings = {
    "below": "An event lowered the probe's loss at once, by {size} (accuracy changed by {points})",
    "unclear": "An event made no clear difference to the probe's loss at once ({loss}; to "
    "accuracy {points})",
    "above": "An event raised the probe's loss at once, by {size} (accuracy changed by {points})",
    "single": "In the one seed an event changed the probe's loss at once by {loss} (accuracy by "
    "{points})",
    "none": "No loss was measured at an event",
}
NO_SHOCK = "Events did not change what the network computes at all"
NOT_SHOCKED = "No measured event after step 0 changed anything, so there is no shock to show"
NOT_MEASURED = "Units were not measured: measure.enabled is false"
SHOCK_TEXT = (
    "Removed units take their part of the function with them, and newborns add theirs, before any "
    "of them has learned. Both are seen on the probe, a fixed set of training images, just before "
    "and just after the event, with no step between.",
)
REWOUND = (
    "Here some events also put weights back to their initial values; what is seen is the effect "
    "of both together."
)
DORMANT: Wordings = {
    "below": "From the first cycle's end to the last, the share of dormant units fell by {size}, "
    "to {level}",
    "unclear": "The share of dormant units did not clearly change from the first cycle's end to "
    "the last ({change}), where it was {level}",
    "above": "From the first cycle's end to the last, the share of dormant units rose by {size}, "
    "to {level}",
    "single": "In the one seed the share of dormant units changed by {change} from the first "
    "cycle's end to the last, where it was {level}",
    "none": "Health was measured at the end of one cycle alone; {level} of the units were dormant "
    "there",
}
HEALTH_TEXT = (
    "A unit is dormant if its mean activation is at most 0.025 of its layer's mean. Effective rank "
    "counts the directions in which a layer's activations vary; the cosine says whether two images "
    "pull the weights the same way. A change is taken within a seed, and layers count alike.",
)
NEWBORN_TEXT = {
    False: "A newborn is a unit switched on at an event, an incumbent one that was alive before "
    "it. Both are measured on the same fixed training images. An event at step 0 is left out: "
    "there every unit is untrained.",
    True: "Here a newborn took part from the start and begins to learn at an event; an incumbent "
    "learned before it, or still waits. Both are measured on the same fixed training images. An "
    "event at step 0 is left out: there every unit is untrained.",
}
"""Whether newborns were there before they were born -> who is compared with whom."""
ADDED = {False: "added", True: "begin to learn"}
"""Whether newborns were there before they were born -> what an event does to them."""
LIVES_LEARN = (
    "All units take part from the first step; here a life begins when its unit begins to learn. "
)
SURVIVOR_TEXT = (
    "The units that stay are compared with themselves just before the event. An event at step 0 is "
    "left out: there every unit is untrained."
)
NO_BIRTH = (
    "No unit was born after step 0, so there is no newborn to compare, and nothing to say of "
    "causes, learning speed or integration"
)
NO_NEWBORNS = {
    "dense": "Structure never changes in a dense network: there are no newborns, so no causes, "
    "learning speed or integration to show",
    "static": "Structure never changes in a static network: there are no newborns, so no causes, "
    "learning speed or integration to show",
    "prune": "Pruning has no newborns, so it has no birth certificate, causes, learning speed or "
    "integration",
}
NOT_FOLLOWED = (
    "Units were replaced between the measured events, one by one, so no newborn cohort was followed"
)
