"""The optimal learning rate in a solvable model: study, answers, figure."""
