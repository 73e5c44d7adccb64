"""Who learned in which stream, over all arms of a study: what the sections on streams share."""

from collections import Counter

import pandas as pd

from plasticity.learner_catalogue import LEARNERS
from plasticity.report import lines
from plasticity.report.comparison import values
from plasticity.report.comparison.gather import Arm, Comparison
from plasticity.report.lines import Looks
from plasticity.report.streams import title_of

PLACE = ["stream", "dataset", "images", "updates"]
"""What learners must share to be shown side by side: the stream, the data set, the images of a
task, and the updates of a whole stream, which a sweep of lengths holds fixed."""
OF_LENGTH = ("streams", "learners", "steps", "sweep", "tasks", "seeds")
"""Parameters of ``continual`` that two arms with the same learner may differ in."""


def read(comparison: Comparison) -> pd.DataFrame:
    """Return every replicate of every arm that has any.

    Columns are those of ``continual/seeds.csv``, those of ``PLACE``, ``arm``, ``op``, ``own_arm``
    and ``name``. A learner's name says its arm where several arms have that learner with the same
    steps per task or with other parameters, and where not all arms of a place train alike (rate,
    batch, network, pixels); ``own_arm`` is the arm then, else empty. The learner
    ``operator`` is each arm's own.
    """
    parts = [
        _of_arm(arm, values.table("continual", "seeds", arm.folders))
        for arm in comparison.done
        if "continual" in comparison.study.stages
    ]
    filled = [part for part in parts if len(part)]
    if not filled:
        return pd.DataFrame(columns=["name", "status", "taoa", *PLACE])
    every = pd.concat(filled, ignore_index=True)
    found = every.groupby([*PLACE, "learner"])
    at_once = every.groupby([*PLACE, "learner", "task_steps"])["arm"].transform("nunique") > 1
    several = at_once.groupby([every[key] for key in (*PLACE, "learner")]).transform("any")
    several |= found["setup"].transform("nunique") > 1
    several |= every.groupby(PLACE)["training"].transform("nunique") > 1
    several |= every["learner"] == "operator"
    own = every["arm"].where(several, "")
    return every.assign(own_arm=own, name=(own + " " + every["learner"]).str.strip())


def counted(seeds: pd.DataFrame) -> pd.DataFrame:
    """Return the replicates that have a result: all but the diverged ones of a regression.

    Elsewhere a diverged seed is wrong in every step from there on: to leave it out would flatter.
    """
    return seeds[(seeds["status"] == "ok") | seeds["taoa"].notna()]


def diverged_text(seeds: pd.DataFrame) -> str:
    """Return what the diverged seeds among replicates count as, as a sentence, or nothing."""
    lost = seeds[seeds["status"] != "ok"]
    known = int(lost["taoa"].notna().sum())
    told = (
        (known, "counted as wrong in every step from then on"),
        (len(lost) - known, "left out, without a number"),
    )
    texts = [f"{number} {how}" for number, how in told if number]
    return f" Runs of a seed that diverged: {'; '.join(texts)}." if texts else ""


def table(comparison: Comparison, name: str, seeds: pd.DataFrame) -> pd.DataFrame:
    """Return another table of the stage, of the replicates in ``seeds``, under the same names.

    Parameters
    ----------
    comparison
        A study with what is there of it.
    name
        Of the table, such as ``tasks``.
    seeds
        Some rows of ``read``.
    """
    keys = ["stream", "learner", "task_steps", "seed"]
    parts = []
    for arm in comparison.done:
        mine = seeds[seeds["arm"] == arm.name][[*keys, *PLACE[1:], "name"]]
        if len(mine):
            rows = values.table("continual", name, arm.folders)
            parts.append(rows.drop(columns="tasks", errors="ignore").merge(mine, on=keys))
    return pd.concat(parts, ignore_index=True)


def _of_arm(arm: Arm, rows: pd.DataFrame) -> pd.DataFrame:
    settings = arm.params.continual
    return values.graded(rows, arm.folders).assign(
        arm=arm.name,
        op=arm.params.op,
        dataset=arm.params.dataset,
        images=str(settings.images),
        updates=settings.tasks * settings.steps,
        setup=_setup(arm, "data", "continual", "edit"),
        training=_setup(arm, "data", "continual"),
    )


def _setup(arm: Arm, *sections: str) -> str:
    """Return what an arm's learners share but for the length of their tasks, as text."""
    tree = arm.params.model_dump(mode="json", include={*sections})
    own = {key: value for key, value in tree["continual"].items() if key not in OF_LENGTH}
    if own["edit_every"] == arm.params.continual.steps:
        own["edit_every"] = "task"
    return str(tree | {"continual": own})


def ordered(seeds: pd.DataFrame) -> list[str]:
    """Return the names of learners as the catalogue orders them, then by arm."""
    order = list(LEARNERS)
    pairs = seeds[["learner", "own_arm", "name"]].drop_duplicates()
    rows = sorted(pairs.itertuples(index=False), key=lambda row: order.index(str(row.learner)))
    return [str(row.name) for row in rows]


def looks(seeds: pd.DataFrame) -> Looks:
    """Return the look of every learner, by its name.

    Those whose arms alone differ have one hue; the dash tells them apart, and the name says it.
    """
    rows = seeds[["learner", "op", "name"]].drop_duplicates("name").set_index("name")
    met: Counter[str] = Counter()
    found = {}
    for name in ordered(seeds):
        learner, op = str(rows.loc[name, "learner"]), str(rows.loc[name, "op"])
        look = lines.look(learner, op, name.replace("_", " "))
        found[name] = lines.dashed(look, met[learner]) if met[learner] else look
        met[learner] += 1
    return found


def heading(place: pd.Series) -> tuple[str, str]:
    """Return a stream's name, and which images its tasks show; a regression shows none."""
    stream = str(place["stream"])
    if stream == "slowly_changing_regression":
        return title_of(stream), ""
    size = str(place["images"])
    images = f"{int(size):,} images" if size.isdigit() else "all images"
    return title_of(stream), f"{images} of {place['dataset']}"


def placed(table: pd.DataFrame, part: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the columns of ``PLACE`` before it, from the replicates of ``part``."""
    where = {key: part[key].iloc[0] for key in PLACE}
    return table.assign(**where)[[*where, *table.columns]]
