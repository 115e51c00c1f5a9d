"""Figures, measured side by side in one run. Ratios only: absolute rates say more of the machine than of callboard."""
