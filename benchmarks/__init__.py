"""A command for each figure that the README quotes: `make bench`, or `make bench ONLY=pipeline`."""


def figure(name: str, value: float, unit: str, goal: str = "", ok: bool = True) -> None:
    """Print a measured figure in one line. A goal that is missed is no error: machines differ."""
    print(f"{name:<44} {value:10.2f} {unit:<6} {goal:<8} {'ok' if ok else 'short'}", flush=True)
