"""The public names, and the file that each comes from; `__init__.py` imports them on first use."""

# data and networks
from .nets.data import Dataset as Dataset, dataset_info as dataset_info
from .nets.data import load_dataset as load_dataset
from .nets.models import MLP as MLP, build_model as build_model
from .nets.parameters import ParameterLayout as ParameterLayout
from .nets.tasks import Task as Task
from .nets.training import Training as Training, evaluate as evaluate, train as train

# what training does
from .dynamics.lyapunov import largest_lyapunov as largest_lyapunov
from .dynamics.recorder import TrajectoryRecorder as TrajectoryRecorder
from .dynamics.tangent import tangent_exponent as tangent_exponent
from .dynamics.tangent import tangent_exponent_map as tangent_exponent_map
from .dynamics.trajectory import Trajectory as Trajectory
from .dynamics.twins import twin_trajectories as twin_trajectories

# what it can be said to cause
from .causality.decisions import causal_decision as causal_decision
from .causality.granger import granger_test as granger_test
from .causality.lasso import CausalLasso as CausalLasso, lasso_path as lasso_path
from .causality.scores import CausalScores as CausalScores, released_sums as released_sums

# from scores to masks, from masks to sparse networks
from .pruning.causal import CausalPruning as CausalPruning
from .pruning.causal import causal_unstructured as causal_unstructured
from .pruning.causal import record_scores as record_scores
from .pruning.contest import Contest as Contest, retraining as retraining
from .pruning.iterative import lottery_ticket as lottery_ticket
from .pruning.legcnet import LEGCNet as LEGCNet, legcnet_decision as legcnet_decision
from .pruning.masks import Masks as Masks, apply_masks as apply_masks
from .pruning.masks import clone_model as clone_model, jaccard as jaccard
from .pruning.masks import masks_of as masks_of, remove_masks as remove_masks
from .pruning.scores import inverse_scores as inverse_scores
from .pruning.scores import magnitude_scores as magnitude_scores
from .pruning.scores import magnitude_unstructured as magnitude_unstructured
from .pruning.scores import obd_scores as obd_scores, prune_by_scores as prune_by_scores
from .pruning.scores import random_scores as random_scores
from .pruning.scores import random_unstructured as random_unstructured
from .pruning.select import LayerCollapseWarning as LayerCollapseWarning
from .pruning.select import masks_from_scores as masks_from_scores
from .pruning.structured import causal_structured as causal_structured
from .pruning.windows import windowed_exponents as windowed_exponents

# what a network costs, and what it is like: its minimum, its layers, its reasons, its distance
from .diagnostics.attribution import rank_agreement as rank_agreement
from .diagnostics.attribution import shap_values as shap_values
from .diagnostics.closeness import removal_bound as removal_bound, sup_distance as sup_distance
from .diagnostics.cost import compare_latency as compare_latency, model_cost as model_cost
from .diagnostics.cost import sparse_linear_copy as sparse_linear_copy
from .diagnostics.curvature import spectral_density as spectral_density
from .diagnostics.curvature import top_eigenvalues as top_eigenvalues
from .diagnostics.landscape import loss_surface as loss_surface
from .diagnostics.landscape import perturbation_flatness as perturbation_flatness
from .diagnostics.spectra import layer_spectra as layer_spectra

# experiments and tables
from .evidence.estimate import Estimate as Estimate
from .evidence.grid import run_grid as run_grid
from .evidence.statistics import paired_difference as paired_difference, summarise as summarise
from .evidence.style import use_style as use_style
from .evidence.verdict import Verdict as Verdict
