from .limits import Limits as Limits
from .run import Serving as Serving, run_server as run_server
