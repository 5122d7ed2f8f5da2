"""For editors and type checkers: where each public name of `__init__.py` comes from."""

# isort: skip_file  (the order is that of __init__.py)

from .nets.data import (
    DATASETS as DATASETS,
    Dataset as Dataset,
    dataset_info as dataset_info,
    load_dataset as load_dataset,
)
from .nets.models import (
    MLP as MLP,
    LeNet as LeNet,
    AlexNet as AlexNet,
    ResNet18 as ResNet18,
    build_model as build_model,
)
from .nets.training import (
    evaluate as evaluate,
    train as train,
)
from .nets.parameters import (
    ParameterLayout as ParameterLayout,
)
from .dynamics.trajectory import (
    Trajectory as Trajectory,
)
from .dynamics.recorder import (
    TrajectoryRecorder as TrajectoryRecorder,
)
from .dynamics.lyapunov import (
    largest_lyapunov as largest_lyapunov,
)
from .dynamics.tangent import (
    tangent_exponent as tangent_exponent,
)
from .dynamics.twins import (
    twin_trajectories as twin_trajectories,
)
from .causality.granger import (
    granger_test as granger_test,
)
from .causality.decisions import (
    causal_decision as causal_decision,
)
from .causality.scores import (
    CausalScores as CausalScores,
)
from .causality.lasso import (
    CausalLasso as CausalLasso,
    lasso_path as lasso_path,
)
from .pruning.select import (
    LayerCollapseWarning as LayerCollapseWarning,
    masks_from_scores as masks_from_scores,
)
from .pruning.masks import (
    Masks as Masks,
    apply_masks as apply_masks,
    jaccard as jaccard,
    masks_of as masks_of,
    overlap_table as overlap_table,
    remove_masks as remove_masks,
)
from .pruning.scores import (
    inverse_scores as inverse_scores,
    inverse_unstructured as inverse_unstructured,
    magnitude_scores as magnitude_scores,
    magnitude_unstructured as magnitude_unstructured,
    obd_scores as obd_scores,
    obd_unstructured as obd_unstructured,
    random_scores as random_scores,
    random_unstructured as random_unstructured,
)
from .pruning.iterative import (
    lottery_ticket as lottery_ticket,
    random_ticket as random_ticket,
)
from .pruning.legcnet import (
    LEGCNet as LEGCNet,
    legcnet_unstructured as legcnet_unstructured,
)
from .pruning.causal import (
    CausalPruning as CausalPruning,
    causal_unstructured as causal_unstructured,
)
from .pruning.structured import (
    causal_structured as causal_structured,
)
from .diagnostics.cost import (
    compare_latency as compare_latency,
    latency as latency,
    model_cost as model_cost,
    sparse_linear_copy as sparse_linear_copy,
)
from .diagnostics.curvature import (
    top_eigenvalues as top_eigenvalues,
)
from .diagnostics.landscape import (
    loss_surface as loss_surface,
    perturbation_flatness as perturbation_flatness,
)
from .diagnostics.spectra import (
    layer_spectra as layer_spectra,
)
from .diagnostics.attribution import (
    shap_values as shap_values,
    rank_agreement as rank_agreement,
)
from .diagnostics.closeness import (
    removal_bound as removal_bound,
    sup_distance as sup_distance,
)
from .evidence.grid import (
    run_grid as run_grid,
)
from .evidence.statistics import (
    paired_difference as paired_difference,
    summarise as summarise,
)
from .evidence.style import (
    use_style as use_style,
)
