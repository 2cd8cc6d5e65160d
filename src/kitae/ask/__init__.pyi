from .answering import (
    Answer as Answer,
    answer as answer,
    conversation as conversation,
    generate as generate,
    open_target as open_target,
)
from .checked import checked_answer as checked_answer
from .endpoint import Endpoint as Endpoint
from .ledger import (
    Budget as Budget,
    Ledger as Ledger,
    Spent as Spent,
)
from .named import (
    ClientSpec as ClientSpec,
    key_in as key_in,
)
from .request import (
    Ask as Ask,
    Reply as Reply,
    Request as Request,
    without_thought as without_thought,
)
from .talk import Talk as Talk
