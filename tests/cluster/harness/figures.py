"""What the tests on the cluster asserted and measured, for the summary at the end."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Figures:
    """Lines in the order in which they came."""

    asserted: list[str] = field(default_factory=list)
    measured: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def holds(self, what: str) -> None:
        """Something was asserted, and held."""
        self.asserted.append(what)

    def measure(self, what: str, value: str) -> None:
        """A figure, with its unit."""
        self.measured.append((what, value))

    def leave_out(self, what: str) -> None:
        """Something was not judged, and why."""
        if what not in self.left_out:
            self.left_out.append(what)

    def lines(self) -> list[str]:
        """The summary."""
        width = max((len(what) for what, _ in self.measured), default=0)
        return [
            *(f"asserted  {what}" for what in self.asserted),
            *(f"measured  {what:{width}}  {value}" for what, value in self.measured),
            *(f"left out  {what}" for what in self.left_out),
            f"{len(self.asserted)} asserted, {len(self.measured)} measured, {len(self.left_out)} left out",
        ]
