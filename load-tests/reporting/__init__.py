"""How figures are shown: saved runs read back, tables, plots and the sections of docs/benchmarks.md."""
