"""What narrow weights cost: errors, metrics, sizes and speed beside float32, measured on the user's own data.

    measure(model, narrow_model, data, labels=…) → Report
    suggest(model, narrow_model, data, min_snr=… | max_drop=…) → Suggestion

Weights become narrow in `fastgru.narrowing`; here networks are only run.

| module | does |
|---|---|
| `running` | runs networks batch by batch, and knows which steps are padding |
| `differences` | how far an output is from float32's: in all, and step by step |
| `metrics` | what labels mean, and the task's metric |
| `side_by_side` | holds narrow networks against the float32 one |
| `sensitivity` | what each layer costs, and the search for those to keep in float32 |
| `measuring` | `measure` and `suggest` |
| `timing` | the speed of both |
| `plot` | the error along the sequence as a picture |
"""

from .differences import OutputError, StepErrors
from .measuring import measure, suggest
from .metrics import METRICS, MetricChange
from .plot import check_plot, plot_error
from .running import Data
from .sensitivity import LayerCost, Suggestion, layer_costs, search
from .side_by_side import Report, SideBySide
from .timing import Speed, compare_speed

__all__ = [
    "METRICS", "measure", "suggest", "SideBySide", "Report", "OutputError", "StepErrors", "MetricChange", "LayerCost",
    "Suggestion", "layer_costs", "search", "Data", "Speed", "compare_speed", "check_plot", "plot_error",
]  # fmt: skip
