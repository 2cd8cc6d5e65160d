from .batches import (
    IGNORED as IGNORED,
    BatchPlan as BatchPlan,
    collate as collate,
)
from .checks import (
    check_parts as check_parts,
    check_template as check_template,
    find_base as find_base,
    find_packages as find_packages,
    names_parts as names_parts,
)
from .footprint import (
    CHARACTERS_PER_TOKEN as CHARACTERS_PER_TOKEN,
    estimate as estimate,
    fitted as fitted,
)
from .kernels import check_liger as check_liger
from .methods import check_teacher as check_teacher
from .phases import fit as fit
from .prepared import (
    SOFT_PROMPT_START as SOFT_PROMPT_START,
    CollatedRow as CollatedRow,
    Prepared as Prepared,
    check_positions as check_positions,
    prepare as prepare,
)
from .provenance import (
    ingredients as ingredients,
    manifest as manifest,
)
from .results import Estimate as Estimate
from .speed import tokens_per_second as tokens_per_second
from .teaching import taught as taught
