"""Studies to work on: your own folders, public data sets, data made on the spot, and their parts."""

from ._chaksu import load_chaksu
from ._chexpert import load_chexpert
from ._covid19_radiography import load_covid19_radiography
from ._ecg import make_ecg
from ._hyperkvasir import load_hyperkvasir
from ._injector import ArtifactInjector
from ._isic2019 import load_isic2019
from ._kermany import load_kermany
from ._nih_chestxray14 import load_nih_chestxray14
from ._padchest import load_padchest
from ._patient_split import check_no_patient_overlap, split_by_patient
from ._phantoms import make_chest_phantoms
from ._ptbxl import load_ptbxl
from ._scanners import apply_scanner
from ._siim_acr import load_siim_acr
from ._study import load_study
from ._transplant import ArtifactTransplant

__all__ = [
    "ArtifactInjector",
    "ArtifactTransplant",
    "apply_scanner",
    "check_no_patient_overlap",
    "load_chaksu",
    "load_chexpert",
    "load_covid19_radiography",
    "load_hyperkvasir",
    "load_isic2019",
    "load_kermany",
    "load_nih_chestxray14",
    "load_padchest",
    "load_ptbxl",
    "load_siim_acr",
    "load_study",
    "make_chest_phantoms",
    "make_ecg",
    "split_by_patient",
]
