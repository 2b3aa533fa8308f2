"""Published benchmarks, one folder each: reading the data, acting, judging as the benchmark itself does."""
