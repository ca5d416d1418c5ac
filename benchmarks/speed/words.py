"""What does docs/speed.md say around its tables? Its sentences."""

from spectral_forecast.benchmarks.speed.end_to_end import PRECISE
from spectral_forecast.benchmarks.speed.methods import OURS
from spectral_forecast.benchmarks.speed.peers import RELEASED

__all__ = [
    "AGAIN",
    "COMPARED",
    "COPY",
    "DEEP",
    "FORECAST",
    "GPU",
    "GRAM",
    "HEAD",
    "KEEP",
    "KINDS",
    "RUNS",
]

KINDS = {"fraction": "the share of a copy's speed", "over": "the ratio to Spectrum", "share": "that of N/evaluations"}

HEAD = """\
# {title}

Written by `make bench-speed` from what it measured (benchmarks/results/{name}.json); do not edit by hand.

{machine}

- Times are medians of rounds, in which what is compared runs once, in turns: of operations fifteen rounds, and three at
  least of what takes long. Ratios are medians of the ratios within a round. What takes less than some milliseconds is
  repeated within a round.
- Of operations: each F and K has a process of its own, since memory is faster or slower with where it lies. PyTorch is
  told to ask for large pages (`THP_MEM_ALLOC_ENABLE`), and the C library to keep memory that is freed (`mallopt`), as
  other allocators do. As it is, it gives more than 32 MB back at once, and the system's new pages for the next result
  take longer than a sum, or a copy. Before the first round each is run until it takes no new pages, eight times at the
  most.
{copy}"""

COPY = (
    "- *A copy's speed* is that of copying {size:.0f} MiB, or half of a larger ring onto the other, right before the "
    "operation: {0:.1f} GB/s read and written in the median, {1:.1f} to {2:.1f}. A percentage is the bytes that an "
    "operation must read and write, each once, over the time it takes and over this speed. Before each, {read:.0f} MiB "
    "of something else are read: then the caches hold nothing of its own, and nothing that the operation before it has "
    "still to write. What is repeated within a round and fits into the caches can be above 100 %."
)

FORECAST = f"""\
A forecast with weights on all K = {{kept}} kept features reads K rows and writes one. `{OURS}` is that in the adapters'
ring, and what the page's statements are about; `combine` is the portable form. The default rule, guarded linear
extrapolation, reads two rows whatever K is. Of others:

- "{RELEASED}" is the released Spectrum's arithmetic in our words (one matrix of the
  features, ridge regression by Cholesky with F right-hand sides, everything but the factor in the features' dtype);
  "predict again" is what a second forecast costs where the coefficients are kept. HiCache is restated, too.
- diffusers' TaylorSeer and cache-dit's calibrators are those packages' own classes, called as their hooks call them.
  cache-dit's DMD is timed with its fit, which the first forecast after an evaluation makes. They hold few features
  whatever K is.
- "BLAS" is one product of a vector and the matrix of features, with weights rounded to the features' dtype."""

KEEP = """\
`Run.keep` copies the feature into the ring. With errors, the step that was evaluated is also forecast, in one pass, and
measured by how much the forecast would have been off: of the default rule from two rows, of weights on all K from K.
"Spectrum: join" makes a new matrix."""

GRAM = """\
One inner product of the new feature with every kept one, of differences and summed in float64; "BLAS" is the plain
product in the features' dtype, which loses small errors. Nothing in the default rule needs them."""

RUNS = f"""\
The measured speed-up over that which the evaluations promise, N/evaluations: N plain evaluations over the run, median
of the rounds. Right after each evaluation of a run, a twin of the network that nothing was put around evaluates the
same and is timed by itself, since this machine may be half as fast a minute later. Evaluations are counted inside the
last block. Small models are trained ones, with 8 samples in a batch; the others have random weights, which does not
change what a step takes.

Each way runs once before the rounds, which is not timed. Small networks have five rounds, large ones three, and ours
there up to twelve, until the standard error is {PRECISE:.1%} (published ones on a CPU two, and up to four): single
evaluations, one right after the other, differ by some percent. A ± is that standard error, of the mean over the rounds.

"A skipped step" is what a call of the network takes in which nothing is evaluated, of an evaluation. Where outputs are
forecast, the network does not run in it. Where features are, what is outside of its blocks runs, but for embedders that
only blocks read; with TaylorSeer they run, too. If a skipped step is 1 % of an evaluation, no more than 97.5 % of
N/evaluations can be reached with 14 of 50, and 96.2 % with 10.

"kept" is the report's `peak_bytes`, to the byte. "More memory" is how much more the process grew at the most than in a
full run, looked at every two milliseconds; it is good to what the C library has kept of the runs before, some megabytes
or, with Wan2.1-1.3B, hundreds. diffusers' TaylorSeer runs in its lite mode, which skips all blocks; FirstBlockCache has
the threshold that comes nearest to the evaluations along a full run; cache-dit skips all blocks but the first at steps
that a mask names, with its own TaylorSeer. Compiled runs do not take turns and have no twin beside them but a full run
before, since each change of a network compiles it anew."""

DEEP = """\
The large ones are as deep as published ones, since what is outside of the blocks, of which a part is not skipped where
features are forecast, is less the more blocks there are, the wider they are, and the more tokens they are given.
FLUX.1-dev is as published, with 64 + 196 tokens, of the 512 + 4096 of a picture of 1024 x 1024; its blocks of a kind
have the parameters of one in common, so that it takes 2 GiB instead of 24. Some may stay in a cache for it, which makes
an evaluation faster, if anything, and so a skipped step dearer. Wan2.1-1.3B is as published, too, with the 512 + 1560
tokens of one picture of 480 x 832, of which a video of 81 frames has as many as 21. FLUX-narrow has FLUX.1-dev's 57
blocks, a third as wide, and as few tokens: the less there is to skip, the more it counts what is not. So it was with
Wan2.1-1.3B, given 16 + 300 tokens: at features 97.8 ± 0.4 % with 14 evaluations and 97.4 ± 0.7 % with 10 (on
2026-11-23)."""

GPU = """\
## On a GPU

Not measured: no GPU was at hand. On a machine with one the same command runs FLUX.1-dev (1024 x 1024), SD3.5-Large,
Wan2.1-14B (480 x 832, 81 frames) and HunyuanVideo (the same size) with random weights in bfloat16 instead of the large
networks above, and the cells above there, and writes a page of its own. The tests call all four with these inputs on
PyTorch's "meta" device and count their parameters. `--networks` and `--rounds` divide it into shorter pieces."""

AGAIN = """\
## Has it become slower?

```sh
git show HEAD:benchmarks/results/speed.json > old.json
make bench-speed
.venv/bin/python -m spectral_forecast.benchmarks.speed --compare old.json
```

"""

COMPARED = (
    "The last command compares ratios, which mean the same on machines of different speed, and fails if one of ours "
    "got worse by more than {compared}. It compares features of {least:.0e} elements and more, and the large networks; "
    "shorter times vary too much. On a machine that others use, too, some get worse by themselves: of two measurements "
    "of the same code, ten minutes apart, 15 of 147 ratios, and 13 if the later one is taken for the older. After "
    "`--compare` and after `--results` there may be several files, of which the medians are compared."
)
