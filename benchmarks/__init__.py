"""Benchmarks: what bg costs beside what people would do without it. Ratios within one run; absolute times are the machine's."""
