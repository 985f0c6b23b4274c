"""What can be done between the epochs and steps of training."""

from cornu.callbacks.backup_and_restore import BackupAndRestore
from cornu.callbacks.csv_logger import CSVLogger
from cornu.callbacks.early_stopping import EarlyStopping
from cornu.callbacks.lambda_callback import LambdaCallback
from cornu.callbacks.learning_rate import LearningRateScheduler, ReduceLROnPlateau
from cornu.callbacks.model_checkpoint import ModelCheckpoint
from cornu.callbacks.monitor import MonitorCallback
from cornu.callbacks.orbax_checkpoint import OrbaxCheckpoint
from cornu.callbacks.remote_monitor import RemoteMonitor
from cornu.callbacks.swap_ema_weights import SwapEMAWeights
from cornu.callbacks.tensorboard import TensorBoard
from cornu.callbacks.terminate_on_nan import TerminateOnNaN
from cornu.training.callback import Callback
from cornu.training.callback_list import CallbackList
from cornu.training.history import History
from cornu.training.progbar_logger import ProgbarLogger

__all__ = [
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "MonitorCallback",
    "OrbaxCheckpoint",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "RemoteMonitor",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
]
