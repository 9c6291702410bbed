from ._compiled import Compiled as Compiled
from ._compiled import CompiledFunction as CompiledFunction
from ._compiled import differentiated_steps as differentiated_steps
from ._forecast import built_before as built_before
from ._forecast import forecast as forecast
from ._kernels import CompileWarning as CompileWarning
from ._program import how_it_runs as how_it_runs
from ._solve import build_solve as build_solve
