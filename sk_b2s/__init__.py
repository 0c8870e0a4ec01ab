"""Reading heard speech from the brain, the scikit-learn way."""

from sk_b2s.activity import SpeechActivity
from sk_b2s.alignment import check_alignment
from sk_b2s.answers import Retrieval
from sk_b2s.asking import join_answers, retrieval_scores, retrieve
from sk_b2s.attention import attention_accuracy, heard_beside
from sk_b2s.audio import SoundTrack
from sk_b2s.auditing import audit
from sk_b2s.bids import read_bids
from sk_b2s.blocks import PublishedBlocks
from sk_b2s.calibrated import CalibratedDecoder
from sk_b2s.calibration import suggest_calibration
from sk_b2s.ceilings import intersubject_correlation, split_half_reliability
from sk_b2s.clocks import align_to_audio
from sk_b2s.controls import run_controls
from sk_b2s.curves import accuracy_by, decision_accuracy, learning_curve
from sk_b2s.encoder import BrainEncoder
from sk_b2s.epocher import Epocher
from sk_b2s.evaluation import benchmark
from sk_b2s.events import check_events
from sk_b2s.experiments import load_experiment, read_events
from sk_b2s.features import AcousticOnsets, EventFeatures, FeatureSpaces
from sk_b2s.forward import ForwardTRF
from sk_b2s.leakage import check_leakage, describe_leakage
from sk_b2s.leave_one_out import LeaveOneSessionOut, LeaveOneStudyOut, LeaveOneSubjectOut
from sk_b2s.linear import RidgeDecoder
from sk_b2s.methods import methods_paragraph
from sk_b2s.model_selection import StimulusKFold, StimulusLeakWarning
from sk_b2s.nulls import shift_null
from sk_b2s.persistence import load, save
from sk_b2s.predictions import forward_prediction
from sk_b2s.preprocessing import FeatureScaler, RobustChannelScaler
from sk_b2s.pretrained import Wav2Vec2Features
from sk_b2s.published import HashedBlockSplit
from sk_b2s.recentring import CovarianceRecentring
from sk_b2s.recipes import decoders
from sk_b2s.report import write_report
from sk_b2s.resampling import bootstrap_interval, shift_test
from sk_b2s.results import read_results, summarise
from sk_b2s.segments import make_segments
from sk_b2s.spaces import score_feature_spaces, unique_contributions
from sk_b2s.speech import Envelope, MelSpectrogram, StoredFeatures
from sk_b2s.statistics import compare_estimators, mean_and_sem
from sk_b2s.stimuli import SoundArray, SoundIntervals
from sk_b2s.studies import concat_events
from sk_b2s.surrogates import SurrogateBrain
from sk_b2s.textgrids import read_textgrid
from sk_b2s.triggers import events_from_raw
from sk_b2s.windows import Windows

__version__ = "0.1.0"

__all__ = [
    "AcousticOnsets",
    "BrainEncoder",
    "CalibratedDecoder",
    "CovarianceRecentring",
    "Envelope",
    "Epocher",
    "EventFeatures",
    "FeatureScaler",
    "FeatureSpaces",
    "ForwardTRF",
    "HashedBlockSplit",
    "LeaveOneSessionOut",
    "LeaveOneStudyOut",
    "LeaveOneSubjectOut",
    "MelSpectrogram",
    "PublishedBlocks",
    "Retrieval",
    "RidgeDecoder",
    "RobustChannelScaler",
    "SoundArray",
    "SoundIntervals",
    "SoundTrack",
    "SpeechActivity",
    "StimulusKFold",
    "StimulusLeakWarning",
    "StoredFeatures",
    "SurrogateBrain",
    "Wav2Vec2Features",
    "Windows",
    "accuracy_by",
    "align_to_audio",
    "attention_accuracy",
    "audit",
    "benchmark",
    "bootstrap_interval",
    "check_alignment",
    "check_events",
    "check_leakage",
    "compare_estimators",
    "concat_events",
    "decision_accuracy",
    "decoders",
    "describe_leakage",
    "events_from_raw",
    "forward_prediction",
    "heard_beside",
    "intersubject_correlation",
    "join_answers",
    "learning_curve",
    "load",
    "load_experiment",
    "make_segments",
    "mean_and_sem",
    "methods_paragraph",
    "read_bids",
    "read_events",
    "read_results",
    "read_textgrid",
    "retrieval_scores",
    "retrieve",
    "run_controls",
    "save",
    "score_feature_spaces",
    "shift_null",
    "shift_test",
    "split_half_reliability",
    "suggest_calibration",
    "summarise",
    "unique_contributions",
    "write_report",
]
