"""One file or folder per question; each opens with the question, the hypothesis, the method and the decision rule."""
