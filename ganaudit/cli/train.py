"""`ganaudit train`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ganaudit.cli.request_options import takes


class TrainOptions:
    """A declaration a setting of `TrainConfig`, in the order of the help; None: not given."""

    data: Annotated[
        str | None,
        typer.Option(help="Folder, zip, npz or idx file of pictures, or toy:ring, toy:grid, ..."),
    ]
    start: Annotated[
        Path | None,
        typer.Option("--from", help="Networks to begin with: a StyleGAN2 pickle, or a training."),
    ]
    arch: Annotated[
        str | None,
        typer.Option(
            help="mlp, dcgan, sngan, cdcgan, acgan, stylegan2 or cstylegan2 [dcgan; points: mlp]."
        ),
    ]
    loss: Annotated[
        str | None,
        typer.Option(
            help="minimax, non-saturating, wgan, wgan-gp, wgan-div, lsgan or hinge "
            "[non-saturating]."
        ),
    ]
    reg: Annotated[
        list[str] | None,
        typer.Option(
            help="adaptivemix, advlatgan-qua, advlatgan-div, mode-seeking, diffaugment: several by "
            "commas; none: not even the preset's [the preset's, or none]."
        ),
    ]
    augment: Annotated[
        list[str] | None,
        typer.Option(
            help="ada, apa, diffaugment: several by commas; none: not even the preset's [the "
            "preset's, or none]."
        ),
    ]
    preset: Annotated[
        str | None, typer.Option(help="Settings of a paper; see docs/train.md [StyleGAN2: auto].")
    ]
    out: Annotated[
        Path | None, typer.Option(help="Folder of the training [training, training-2, ...].")
    ]
    resume: Annotated[bool | None, typer.Option("--resume", help="Continue the training in --out.")]
    steps: Annotated[int | None, typer.Option(help="Of the training [the preset's, or 10000].")]
    kimg: Annotated[
        float | None, typer.Option(help="Instead of --steps: thousands of real images shown.")
    ]
    batch: Annotated[
        int | None, typer.Option(help="Images of a step, on all devices [preset's, or 64].")
    ]
    parts: Annotated[
        int | None, typer.Option(help="That each device takes its share of a batch in [1].")
    ]
    latent_size: Annotated[int | None, typer.Option(help="Numbers of a latent [preset's, or 128].")]
    prior: Annotated[
        str | None, typer.Option(help="normal, uniform, truncated or spherical [normal].")
    ]
    size: Annotated[int | None, typer.Option(help="Pixels a side [the pictures' own].")]
    channels: Annotated[int | None, typer.Option(help="1 or 3 [3, unless every picture is grey].")]
    fit: Annotated[
        str | None,
        typer.Option(help="Pictures of another size: refuse, crop, pad or resize [refuse]."),
    ]
    labels: Annotated[
        str | None,
        typer.Option(
            help="folders, dataset.json, or a file of labels [those in the data, if any]."
        ),
    ]
    mirror: Annotated[
        bool | None,
        typer.Option("--mirror/--no-mirror", help="Mirror half of the real images [preset's, no]."),
    ]
    precision: Annotated[str | None, typer.Option(help="32, bf16 or 16 (mixed) [32].")]
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda [auto].")]
    devices: Annotated[int | None, typer.Option(help="How many; the batch is shared out [1].")]
    seed: Annotated[int | None, typer.Option(help="Decides every draw [0].")]
    snapshot_every: Annotated[
        int | None, typer.Option(help="Steps between two checkpoints [a tenth of all].")
    ]
    audit_every: Annotated[
        int | None, typer.Option(help="Steps between two audits; 0: none [at start and end].")
    ]
    audit_anchors: Annotated[int | None, typer.Option(help="Images scored against [1000].")]
    audit_samples: Annotated[int | None, typer.Option(help="Images scored [4000].")]
    descriptor: Annotated[
        str | None, typer.Option(help="Of the audits: path, NAME or NAME:TARGET [no audits].")
    ]
    theta: Annotated[
        float | None,
        typer.Option(help="Of the audits: reach, fraction of pi [the descriptor's]."),
    ]
    radius: Annotated[
        float | None,
        typer.Option(help="Of the audits: radius, fraction of pi [the descriptor's]."),
    ]
    plugin: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE.py", help="Your own code: brings descriptors."),
    ]
    trust: Annotated[
        bool | None, typer.Option("--trust", help="Run programs in files: TorchScript.")
    ]
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="OWNER.KEY=VALUE",
            help="Of generator, discriminator, loss, optim, styles, augment, descriptor or a "
            "regulariser.",
        ),
    ]
    dry_run: Annotated[
        bool | None,
        typer.Option("--dry-run", help="Read the data, print the configuration, stop."),
    ]
    format_: Annotated[str | None, typer.Option("--format", help="rich or json, on stdout [rich].")]


@takes(TrainOptions)
def train(
    request: dict[str, Any],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notices.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Where each setting comes from; tracebacks.")
    ] = False,
) -> None:
    """Train a model that you own, with regularisers against collapse, and audit it as it learns.

    Exit codes: 0 trained; 3 the training diverged (the last checkpoint is kept); 130 interrupted.
    """
    from ganaudit.cli.running import run_train

    raise typer.Exit(run_train(request, quiet=quiet, verbose=verbose))
