"""``python -m theory``: the modules, those with derivations first; ``python -m theory adamw``: what one derives."""

import sys
from pathlib import Path

from theory.derivations import listed, main, show

if __name__ == "__main__":
    names = sys.argv[1:]
    unknown = [name for name in names if not (name.isidentifier() and Path(__file__).with_name(f"{name}.py").is_file())]
    if unknown:
        sys.exit(f"python -m theory: no module {', '.join(unknown)}; without a name it lists all")
    for name in names:
        main(name)
    if not names:
        show(listed())
