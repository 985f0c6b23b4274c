"""Recurrent layers: a cell that is called at each step of a sequence, and carries its state on."""

from cornu.layers.recurrent.bidirectional import Bidirectional
from cornu.layers.recurrent.conv_lstm import ConvLSTM1D, ConvLSTM2D, ConvLSTM3D
from cornu.layers.recurrent.gru import GRU, GRUCell
from cornu.layers.recurrent.lstm import LSTM, LSTMCell
from cornu.layers.recurrent.rnn import RNN
from cornu.layers.recurrent.simple import SimpleRNN, SimpleRNNCell
from cornu.layers.recurrent.stacked import StackedRNNCells

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Bidirectional",
    "ConvLSTM1D",
    "ConvLSTM2D",
    "ConvLSTM3D",
    "GRUCell",
    "LSTMCell",
    "SimpleRNN",
    "SimpleRNNCell",
    "StackedRNNCells",
]
