"""AdamW at its equilibrium norm against AdamH on real text: study, answers, figure."""
