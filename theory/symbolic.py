"""sympy when the first derivation asks for it, and its positive symbols.

sympy takes longer to load than all else that a prediction needs, and no prediction runs it. Here a name of sympy is
looked up when it is used, so that ``import theory`` need not wait. For the same reason each derivation makes its own
symbols: those of equal names and assumptions are one symbol, whoever made them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sympy as sp
else:

    class _Sympy:
        """sympy's own names, each looked up when it is used."""

        def __getattr__(self, name: str) -> Any:
            import sympy

            return getattr(sympy, name)

    sp = _Sympy()


def positive(names: str) -> tuple[Any, ...]:
    """The positive symbols of these names, parted by spaces: ``eta, lam = positive("eta lambda")``."""
    return tuple(sp.Symbol(name, positive=True) for name in names.split())


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
