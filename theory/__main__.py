"""``python -m theory``: the modules, those with derivations first."""

from theory.derivations import listed, show

if __name__ == "__main__":
    show(listed())
