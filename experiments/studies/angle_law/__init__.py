"""A loss law in angles fitted to AdamH on real text, and the optima that it predicts for AdamW: runs, fit, answers."""
