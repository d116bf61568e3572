"""The dashboard: ``streamlit run app.py`` or ``python -m forecaster dashboard``."""

from forecaster.dashboard import run

run()
