"""`spectral-forecast sample` and `compare`, on tiny pipelines written by `save_pretrained`, tokenizers included."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLWan,
    DDIMScheduler,
    DiffusionPipeline,
    DiTPipeline,
    DiTTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from PIL import Image
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
)

from spectral_forecast import schedules
from spectral_forecast.adapters.diffusers import sampling
from spectral_forecast.adapters.diffusers.sampling.processes import Share
from spectral_forecast.cli import main
from spectral_forecast.compare import _ssim, compare

ROOT = Path(__file__).parents[1]
PROMPTS = ["a cat", "a dog", "two birds", "the sea", "a house by the sea"]
NAMES = [f"{number:05d}" for number in range(len(PROMPTS))]
PIECES = ["<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz"]
SIZE = ["--height", "32", "--width", "32", "--guidance", "2"]
FULL = [*SIZE, "--steps", "8"]
FAST = [*FULL, "--evaluations", "5"]


def tokenizer(folder):
    """CLIP's tokenizer with the letters of its alphabet and no merges."""
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16), len(words)


def t5_tokenizer():
    """T5's tokenizer with letters for pieces."""
    return T5Tokenizer([(letter, 0.0) for letter in PIECES])


def autoencoder():
    """From 16 x 16 latents of four channels to 32 x 32 pixels."""
    return AutoencoderKL(
        block_out_channels=(4, 4),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        shift_factor=0.0,
        norm_num_groups=2,
        sample_size=32,
    )


@pytest.fixture(scope="session")
def sd3(tmp_path_factory):
    """Folder of a Stable Diffusion 3 that reads words."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sd3")
    words, count = tokenizer(folder / "words")
    config = CLIPTextConfig(
        vocab_size=count,
        hidden_size=16,
        intermediate_size=16,
        projection_dim=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=count - 2,
        eos_token_id=count - 1,
        pad_token_id=count - 1,
    )
    encoder = T5Config(vocab_size=len(PIECES) + 100, d_model=32, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=16,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=32,
            caption_projection_dim=16,
            pooled_projection_dim=32,
            pos_embed_max_size=16,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(),
        text_encoder=CLIPTextModelWithProjection(config),
        text_encoder_2=CLIPTextModelWithProjection(config),
        text_encoder_3=T5EncoderModel(encoder),
        tokenizer=words,
        tokenizer_2=words,
        tokenizer_3=t5_tokenizer(),
    ).save_pretrained(folder / "pipe")
    return folder / "pipe"


@pytest.fixture(scope="session")
def dit(tmp_path_factory):
    """Folder of a pipeline that draws classes."""
    torch.manual_seed(0)
    network = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        sample_size=16,
        norm_num_groups=4,
        num_embeds_ada_norm=1000,
    )
    folder = tmp_path_factory.mktemp("dit")
    DiTPipeline(network, autoencoder(), DDIMScheduler()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def wan(tmp_path_factory):
    """Folder of a pipeline that draws videos."""
    torch.manual_seed(0)
    network = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=16,
        out_channels=16,
        text_dim=8,
        freq_dim=16,
        ffn_dim=32,
        num_layers=2,
    )
    encoder = UMT5Config(vocab_size=len(PIECES) + 100, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    folder = tmp_path_factory.mktemp("wan")
    WanPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=UMT5EncoderModel(encoder),
        vae=AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1),
        scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
        transformer=network,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def prompts(tmp_path_factory):
    file = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    file.write_text("\n".join(PROMPTS) + "\n\n")
    return file


@pytest.fixture(scope="session")
def full(sd3, prompts, tmp_path_factory):
    """Folder of the full run's pictures."""
    return drawn(sd3, prompts, tmp_path_factory.mktemp("out") / "full", *FULL)


@pytest.fixture(scope="session")
def fast(sd3, prompts, tmp_path_factory):
    """Folder of pictures drawn with five evaluations."""
    return drawn(sd3, prompts, tmp_path_factory.mktemp("out") / "fast", *FAST)


@pytest.fixture
def lines(tmp_path):
    """Write a file of prompts with options."""

    def write(*objects):
        file = tmp_path / "prompts.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in objects))
        return file

    return write


def draw(*arguments):
    return main(["sample", *map(str, arguments)])


def drawn(pipeline, prompts, out, *options):
    assert draw(pipeline, prompts, out, *options) == 0
    return out


def statistics(folder, name="00000"):
    return json.loads((folder / f"{name}.json").read_text())


def pictures(folder):
    """The bytes of every picture by its name in the folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


def pixels(path):
    with Image.open(path) as image:
        return np.array(image)


def command(*arguments):
    """What runs the command line in another process: the program, and its environment."""
    program = ["-m", "spectral_forecast", "sample", *map(str, arguments)]
    launcher = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}
    kept = {name: value for name, value in os.environ.items() if name not in launcher}
    return program, kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def test_every_prompt_gets_a_picture_and_its_statistics(full, fast):
    names = {"settings.json", *(f"{name}.{ending}" for name in NAMES for ending in ("png", "json"))}
    assert {path.name for path in fast.iterdir()} == {path.name for path in full.iterdir()} == names
    assert len(set(pictures(fast).values())) == len(PROMPTS)
    noted = statistics(fast, "00003")
    assert (noted["prompt"], noted["seed"], noted["files"]) == ("the sea", 3, ["00003.png"])
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(8)
    balanced = schedules.balanced(scheduler.sigmas.numpy(), 5)
    assert noted["report"]["evaluated"] == {"call 0": np.flatnonzero(balanced).tolist()}
    assert (noted["evaluations"], noted["steps"], noted["report"]["events"]) == (5, 8, [])
    assert noted["arguments"]["guidance_scale"] == 2.0
    assert noted["versions"]["torch"] == torch.__version__
    assert 0 < noted["seconds"] < 600
    plain = statistics(full, "00003")
    assert (plain["evaluations"], plain["report"]) == (8, None)


def test_pictures_are_those_of_the_pipeline(sd3, full):
    pipe = DiffusionPipeline.from_pretrained(sd3)
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(2)
    call = {"num_inference_steps": 8, "height": 32, "width": 32, "guidance_scale": 2.0}
    image = pipe(PROMPTS[2], generator=generator, **call).images[0]
    assert np.array_equal(np.asarray(image), pixels(full / "00002.png"))


def test_a_second_run_draws_nothing(sd3, prompts, fast, capsys):
    before = {path.name: path.stat().st_mtime_ns for path in fast.iterdir()}
    assert draw(sd3, prompts, fast, *FAST) == 0
    assert capsys.readouterr().out == f"0 drawn, 5 were there, 0 failed; {fast}\n"
    assert {path.name: path.stat().st_mtime_ns for path in fast.iterdir()} == before


def test_a_killed_run_goes_on(sd3, prompts, tmp_path, capfd):
    options = [*SIZE, "--steps", "40", "--evaluations", "30"]
    program, environment = command(sd3, prompts, tmp_path / "killed", *options)
    process = subprocess.Popen([sys.executable, *program], env=environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (tmp_path / "killed" / "00000.json").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stderr.close()
    there = len(list((tmp_path / "killed").glob("0*.json")))
    assert 1 <= there < len(PROMPTS)
    drawn(sd3, prompts, tmp_path / "killed", *options)
    assert capfd.readouterr().out == f"{5 - there} drawn, {there} were there, 0 failed; {tmp_path / 'killed'}\n"
    whole = drawn(sd3, prompts, tmp_path / "whole", *options)
    assert pictures(tmp_path / "killed") == pictures(whole)
    assert {path.name for path in (tmp_path / "killed").iterdir()} == {path.name for path in whole.iterdir()}


def test_half_written_files_are_written_again(sd3, prompts, fast, tmp_path):
    copy = shutil.copytree(fast, tmp_path / "copy")
    (copy / "00001.json").unlink()  # killed before the statistics
    (copy / "00001.png").write_bytes(b"half")
    (copy / "00001.json.part").write_text("{")
    (copy / "00002.png").unlink()  # taken away by someone
    (copy / "00003.json").write_text("{")
    drawn(sd3, prompts, copy, *FAST)
    assert pictures(copy) == pictures(fast)
    assert not list(copy.glob("*.part"))


def test_two_processes_share_the_prompts(sd3, lines, tmp_path):
    """As `accelerate launch` starts them on several GPUs; all prompts of the first process fail."""
    wrong, right = {"height": 31}, {}
    file = lines(*({"prompt": word} | (right if number % 2 else wrong) for number, word in enumerate(PROMPTS[:4])))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--no_python", sys.executable]
    program, environment = command(sd3, file, tmp_path / "two", *FAST)
    launched = subprocess.run(
        [sys.executable, *launcher, *program], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert launched.returncode != 0
    assert "process 0 of 2: 0 drawn, 0 were there, 2 failed" in launched.stdout, launched.stderr
    assert "process 1 of 2: 2 drawn, 0 were there, 0 failed" in launched.stdout
    assert draw(sd3, file, tmp_path / "one", *FAST) == 1
    assert set(pictures(tmp_path / "one")) == {"00001.png", "00003.png"}
    assert pictures(tmp_path / "two") == pictures(tmp_path / "one")
    names = [{path.name for path in (tmp_path / folder).iterdir()} for folder in ("one", "two")]
    assert names[0] == names[1]


def test_a_process_that_failed_waits_for_the_others(sd3, lines, tmp_path, monkeypatch):
    """Else the launcher would stop them."""
    waited = []

    def wait():
        waited.append(statistics(tmp_path / "out", "00002")["files"])

    monkeypatch.setattr(sampling, "my_share", lambda **_: Share(0, 2, 0, wait))
    file = lines({"prompt": "a cat", "height": 31}, {"prompt": "a dog"}, {"prompt": "the sea"})
    assert draw(sd3, file, tmp_path / "out", *FAST) == 1
    assert waited == [["00002.png"]]
    assert not (tmp_path / "out" / "00001.json").exists()
    assert draw(sd3, file, tmp_path / "out", *FAST) == 1
    assert len(waited) == 2


def test_without_a_rendezvous_the_launchers_variables_are_enough(sd3, prompts, fast, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        drawn(sd3, prompts, tmp_path / "out", *FAST)
    told = capsys.readouterr().out
    assert "process 1 of 2: 2 drawn" in told
    assert "process 0 of 2: 3 drawn" in told
    assert pictures(tmp_path / "out") == pictures(fast)
    monkeypatch.setenv("RANK", "2")
    assert draw(sd3, prompts, tmp_path / "out", *FAST) == 2
    assert "`RANK` is 2 of `WORLD_SIZE` 2" in capsys.readouterr().err


def test_lines_have_options_of_their_own(sd3, fast, lines, tmp_path):
    file = lines(
        {"prompt": PROMPTS[4], "seed": 4},
        {"prompt": PROMPTS[4], "seed": 4, "negative_prompt": "a cat"},
        {"prompt": PROMPTS[4], "height": 48, "steps": 9, "guidance": 3.0},
    )
    out = drawn(sd3, file, tmp_path / "out", *FAST)
    assert pictures(out)["00000.png"] == pictures(fast)["00004.png"] != pictures(out)["00001.png"]
    assert pixels(out / "00002.png").shape == (48, 32, 3)
    noted = statistics(out, "00002")
    assert (noted["steps"], noted["seed"], noted["arguments"]["guidance_scale"]) == (9, 2, 3.0)
    assert statistics(out, "00001")["arguments"]["negative_prompt"] == "a cat"


def test_a_batch_draws_what_single_prompts_do(sd3, fast, prompts, tmp_path):
    out = drawn(sd3, prompts, tmp_path / "out", *FAST, "--batch", "2", "--option", "negative_prompt=")
    noted = [statistics(out, name) for name in NAMES]
    assert [item["in_batch"] for item in noted] == [2, 2, 2, 2, 1]
    assert [item["arguments"]["prompt"] for item in noted] == PROMPTS
    for name in NAMES:
        one, other = (pixels(folder / f"{name}.png").astype(int) for folder in (out, fast))
        assert abs(one - other).max() <= 1
    before = pictures(out)
    (out / "00001.json").unlink()
    drawn(sd3, prompts, out, *FAST, "--batch", "2", "--option", "negative_prompt=")
    assert pictures(out) == before


def test_a_prompt_that_fails_is_noted_and_drawn_again(sd3, lines, tmp_path, capsys, monkeypatch):
    file = lines({"prompt": "a cat"}, {"prompt": "a dog"}, {"prompt": "the sea"})
    original = StableDiffusion3Pipeline.encode_prompt

    def encode_prompt(self, prompt, *args, **kwargs):
        if prompt == "a dog":
            raise RuntimeError("out of dogs")
        return original(self, prompt, *args, **kwargs)

    monkeypatch.setattr(StableDiffusion3Pipeline, "encode_prompt", encode_prompt)
    assert draw(sd3, file, tmp_path / "out", *FAST) == 1
    told = capsys.readouterr()
    assert "2 drawn, 0 were there, 1 failed" in told.out
    assert "00001 failed: RuntimeError: out of dogs" in told.err
    noted = statistics(tmp_path / "out", "00001")
    assert noted["error"] == "RuntimeError: out of dogs"
    assert "encode_prompt" in noted["traceback"]
    monkeypatch.undo()
    drawn(sd3, file, tmp_path / "out", *FAST)
    assert "1 drawn, 2 were there, 0 failed" in capsys.readouterr().out
    assert statistics(tmp_path / "out", "00001")["report"]["events"] == []


def test_without_a_rule_it_is_accelerates_own(dit, tmp_path):
    (tmp_path / "classes.txt").write_text("3\n")
    out = drawn(dit, tmp_path / "classes.txt", tmp_path / "out", "--steps", "10", "--evaluations", "6")
    assert statistics(out)["report"]["forecaster"] == "Newton(order=1), guarded"


def test_a_tolerance_and_a_grid(sd3, lines, tmp_path, capsys):
    one = lines({"prompt": "a cat", "steps": 20})
    assert draw(sd3, one, tmp_path / "tolerance", "--tolerance", "20 dB", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["out"], told["drawn"], told["failed"]) == (str(tmp_path / "tolerance"), ["00000"], {})
    noted = statistics(tmp_path / "tolerance")
    assert noted["report"]["forecaster"].endswith("tolerance 20 dB")
    assert noted["steps"] == 20
    assert noted["report"]["sample_error"] > 0.0
    assert json.loads((tmp_path / "tolerance" / "settings.json").read_text())["tolerance"] == "20 dB"
    # Another tolerance is another setting.
    assert draw(sd3, one, tmp_path / "tolerance", "--tolerance", "0.2") == 2
    assert "(tolerance '20 dB', now 0.2)" in capsys.readouterr().err
    assert draw(sd3, one, tmp_path / "grid", "--evaluations", "6", "--grid", "40") == 0
    noted = statistics(tmp_path / "grid")
    assert (noted["steps"], noted["evaluations"], noted["report"]["events"]) == (40, 6, [])


def test_classes(dit, tmp_path, capsys):
    (tmp_path / "classes.txt").write_text("3\n8\n207\n")
    options = ["--steps", "10", "--evaluations", "6", "--at", "features", "--forecaster", "newton"]
    out = drawn(dit, tmp_path / "classes.txt", tmp_path / "out", *options)
    noted = statistics(out, "00002")
    assert noted["arguments"]["class_labels"] == 207
    assert (noted["report"]["at"], noted["report"]["forecaster"]) == ("features", "Newton(order=1)")
    assert noted["evaluations"] == 6
    half = drawn(dit, tmp_path / "classes.txt", tmp_path / "half", *options, "--dtype", "bfloat16")
    assert statistics(half)["dtype"] == "bfloat16"
    assert main(["compare", str(out), str(half)]) == 0
    (tmp_path / "words.txt").write_text("a cat\n")
    assert draw(dit, tmp_path / "words.txt", tmp_path / "words", *options) == 2
    assert "prompt 00000 is 'a cat'; DiTPipeline draws classes, write a number" in capsys.readouterr().err
    assert not (tmp_path / "words").exists()


def test_videos(wan, tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("a cat\n")
    options = ["--steps", "8", "--frames", "5", "--height", "32", "--width", "32", "--option", "max_sequence_length=8"]
    out = drawn(wan, tmp_path / "prompts.txt", tmp_path / "out", *options, "--evaluations", "5")
    assert sorted(pictures(out)) == [f"00000/{frame:05d}.png" for frame in range(5)]
    assert (statistics(out)["files"], statistics(out)["evaluations"]) == (["00000"], 5)
    whole = drawn(wan, tmp_path / "prompts.txt", tmp_path / "whole", *options)
    assert main(["compare", str(whole), str(out)]) == 0
    assert "1 compared with" in capsys.readouterr().out
    (out / "00000" / "00004.png").unlink()
    assert main(["compare", str(whole), str(out)]) == 2
    assert "32 × 32 pixels and 4 frames" in capsys.readouterr().err


def test_films_are_written_beside_the_frames(wan, tmp_path, monkeypatch):
    """The writer stands in for imageio's."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name if "imageio" in name else find_spec(name))
    monkeypatch.setattr(
        "diffusers.utils.export_to_video",
        lambda frames, file, fps: Path(file).write_text(f"{len(frames)} frames, {fps} a second"),
    )
    (tmp_path / "prompts.txt").write_text("a cat\n")
    options = ["--steps", "2", "--frames", "5", "--height", "32", "--width", "32", "--option", "max_sequence_length=8"]
    out = drawn(wan, tmp_path / "prompts.txt", tmp_path / "out", *options, "--mp4", "8")
    assert statistics(out)["files"] == ["00000", "00000.mp4"]
    assert (out / "00000.mp4").read_text() == "5 frames, 8 a second"
    assert not list(out.glob("*.part*"))


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_are_pictures_and_noise_without_a_generator_is_the_seeds(dit, tmp_path, monkeypatch, channels):
    def call(_pipe, class_labels):
        return types.SimpleNamespace(images=[torch.rand(8, 9, channels).numpy() for _ in class_labels])

    monkeypatch.setattr(DiTPipeline, "__call__", call)
    (tmp_path / "classes.txt").write_text("3\n8\n")
    out = drawn(dit, tmp_path / "classes.txt", tmp_path / "out", "--seed", "5", "--device", "cpu")
    for number in (0, 1):
        noise = torch.rand(8, 9, channels, generator=torch.Generator().manual_seed(5 + number)).numpy()
        assert np.array_equal(pixels(out / f"{number:05d}.png"), (255 * noise).round().squeeze())


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ({"latents": []}, "TypeError: SimpleNamespace holds neither images nor frames"),
        ({"images": []}, "ValueError: the pipeline returned 0 results for 1 prompts"),
        (
            {"images": [np.zeros((4, 5), dtype=np.uint8)]},
            "TypeError: the pipeline returned ndarray (4, 5) of uint8, no picture",
        ),
    ],
)
def test_results_that_are_no_pictures_are_noted(dit, tmp_path, monkeypatch, returned, message):
    monkeypatch.setattr(
        DiTPipeline, "__call__", lambda _, class_labels: types.SimpleNamespace(of=class_labels, **returned)
    )
    (tmp_path / "classes.txt").write_text("3\n")
    assert draw(dit, tmp_path / "classes.txt", tmp_path / "out") == 1
    assert statistics(tmp_path / "out")["error"] == message


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda _, image: image, "DiTPipeline takes neither a prompt nor class labels."),
        (lambda _, prompt, mask: (prompt, mask), "DiTPipeline needs mask, which no file of prompts can hold."),
    ],
)
def test_pipelines_that_need_more_than_prompts_are_refused(dit, tmp_path, monkeypatch, capsys, call, message):
    monkeypatch.setattr(DiTPipeline, "__call__", call)
    (tmp_path / "classes.txt").write_text("3\n")
    assert draw(dit, tmp_path / "classes.txt", tmp_path / "out") == 2
    assert f"`PIPELINE`: {message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ImportError("T5Tokenizer needs sentencepiece.\nInstall it."), 2, "ImportError: T5Tokenizer needs sentencepi"),
        (ModuleNotFoundError("No module", name="transformers"), 1, "`pip install 'spectral-forecast[diffusers]'`"),
        (KeyError(), 2, "`PIPELINE`: someone/something cannot be loaded: KeyError: \n"),
    ],
)
def test_names_on_the_hub_that_cannot_be_loaded(prompts, tmp_path, monkeypatch, capsys, error, status, message):
    def from_pretrained(source, **_options):
        assert source == "someone/something"
        raise error

    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", from_pretrained)
    assert draw("someone/something", prompts, tmp_path / "out") == status
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("pipeline", "text", "options", "message"),
    [
        ("./nowhere", "a cat", [], "`PIPELINE`: there is no folder nowhere"),
        ("EMPTY", "a cat", [], "holds no model_index.json; write what `save_pretrained` has filled"),
        ("SD3", "", [], "is empty; write one prompt a line"),
        ("SD3", " \n\n", [], "is empty; write one prompt a line"),
        ("SD3", None, [], "`PROMPTS`: there is no file"),
        ("SD3", "a cat", ["--batch", "0"], "`batch` is 0; write 1 or more"),
        ("SD3", "a cat", ["--evaluations", "-1"], "`evaluations` is -1; write 1 or more, or 0 for the full run"),
        ("SD3", "a cat", ["--frames", "5"], "`frames`: StableDiffusion3Pipeline does not take it; it takes callback"),
        ("SD3", "a cat", ["--option", "strength"], "`--option` is 'strength'; write NAME=VALUE"),
        ("SD3", "a cat", ["--option", "generator=3"], "`generator` is not an option here; write `seed`"),
        ("SD3", "a cat", ["--forecaster", "spectrum", "--ridge", "-1"], "`ridge` is -1.0; write 0 or more"),
        ("SD3", "a cat", ["--ridge", "0.2"], "`--ridge` goes with `--forecaster`"),
        ("SD3", "a cat", ["--tolerance", "3 %"], "`tolerance` is '3 %'; write a relative error such as 0.02"),
        ("SD3", "a cat", ["--tolerance", "0"], "`tolerance` is 0.0; write a relative error above 0"),
        ("SD3", "a cat", ["--tolerance", "0.1", "--evaluations", "5"], "are two budgets; write one"),
        ("SD3", "a cat", ["--tolerance", "0.1", "--forecaster", "newton"], "goes with the default forecaster"),
        ("SD3", "a cat", ["--grid", "20"], "`grid` goes with `evaluations` or `tolerance`"),
        ("SD3", "a cat", ["--mp4"], "`mp4` needs imageio and imageio-ffmpeg"),
        ("SD3", "a cat", ["--variant", "fp16"], "cannot be loaded"),
    ],
)
def test_bad_arguments(sd3, tmp_path, capsys, monkeypatch, pipeline, text, options, message):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if "imageio" in name else find_spec(name))
    (tmp_path / "empty").mkdir()
    if text is not None:
        (tmp_path / "prompts.txt").write_text(text)
    folder = {"SD3": sd3, "EMPTY": tmp_path / "empty"}.get(pipeline, pipeline)
    assert draw(folder, tmp_path / "prompts.txt", tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a cat", "line 2 is not JSON"),
        ("[1]", "line 2 is no object"),
        ('{"seed": 1}', 'line 2 needs one "prompt" (words) or one "class_label"'),
        ('{"prompt": "a", "class_label": 1}', 'line 2 needs one "prompt"'),
        ('{"prompt": "a", "seed": "x"}', "line 2 has \"seed\": 'x'; write a whole number"),
        ('{"prompt": "a", "strength": 1}', "prompt 00001: `strength`: StableDiffusion3Pipeline does not take it"),
    ],
)
def test_bad_lines(sd3, tmp_path, capsys, line, message):
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a"}\n' + line + "\n")
    assert draw(sd3, tmp_path / "prompts.jsonl", tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_settings_is_refused(sd3, prompts, fast, tmp_path, capsys):
    before = pictures(fast)
    assert draw(sd3, prompts, fast, *FAST, "--seed", "1") == 2
    assert "was written with other settings (seed 0, now 1); write another folder" in capsys.readouterr().err
    (tmp_path / "other.txt").write_text("a horse\n")
    assert draw(sd3, tmp_path / "other.txt", fast, *FAST) == 2
    assert "prompts 5, now 1" in capsys.readouterr().err
    assert draw(sd3, prompts, tmp_path, *FAST) == 2
    assert "holds other things, as other.txt, and no settings.json" in capsys.readouterr().err
    assert pictures(fast) == before


def test_compare_prints_a_table(full, fast, tmp_path, capsys):
    assert main(["compare", str(full), str(fast), str(full), "--json", str(tmp_path / "numbers.json")]) == 0
    told = capsys.readouterr().out
    rows = [[word.strip() for word in line.strip("|").split("|")] for line in told.splitlines() if line[:1] == "|"]
    assert rows[0] == ["run", "evaluations", "seconds", "speed-up", "PSNR / dB", "SSIM", "LPIPS"]
    assert [row[:2] for row in rows[2:]] == [
        [str(full), "8.0 ± 0.0"],
        [str(fast), "5.0 ± 0.0"],
        [str(full), "8.0 ± 0.0"],
    ]
    assert rows[2][3:] == ["–"] * 4
    assert rows[4][3:6] == ["1.00 ± 0.00", "inf", "1.0000 ± 0.0000"]
    assert f"{full}: 5 compared with {full}, 5 without any difference" in told
    first, second = json.loads((tmp_path / "numbers.json").read_text())
    images = [[pixels(folder / f"{name}.png").astype(float) for name in NAMES] for folder in (full, fast)]
    errors = [np.mean((a - b) ** 2) for a, b in zip(*images, strict=True)]
    psnr = 10 * np.log10(255.0**2 / np.array(errors))
    assert [prompt["psnr"] for prompt in first["prompts"]] == pytest.approx(psnr)
    assert rows[3][4] == f"{psnr.mean():.2f} ± {psnr.std(ddof=1):.2f}"
    seconds = [[statistics(folder, name)["seconds"] for name in NAMES] for folder in (full, fast)]
    assert first["mean"]["speedup"] == pytest.approx(np.mean(np.divide(*seconds)))
    assert rows[3][3].startswith(f"{first['mean']['speedup']:.2f} ± ")
    assert 0.5 < first["mean"]["ssim"] < 1.0
    assert (second["identical"], second["mean"]["psnr"]) == (5, None)


def test_ssim_is_its_authors(full, fast):
    """Against a direct sum over 11 x 11 Gaussian windows, in grey so that there is one channel."""
    a, b = (np.repeat(pixels(folder / "00001.png")[..., :1] / 255.0, 3, axis=2) for folder in (full, fast))
    x = np.arange(11) - 5
    window = np.exp(-(x**2) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2
    values = []
    for i in range(a.shape[0] - 10):
        for j in range(a.shape[1] - 10):
            u, v = (image[i : i + 11, j : j + 11, 0] for image in (a, b))
            mu, mv = (window * u).sum(), (window * v).sum()
            uu, vv, uv = ((window * p).sum() for p in ((u - mu) ** 2, (v - mv) ** 2, (u - mu) * (v - mv)))
            c1, c2 = 0.01**2, 0.03**2
            values.append((2 * mu * mv + c1) * (2 * uv + c2) / ((mu**2 + mv**2 + c1) * (uu + vv + c2)))
    assert _ssim()(a[None], b[None]) == pytest.approx(np.mean(values), abs=1e-9)


def test_compare_names_what_is_missing(full, fast, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.metrics", None)
    monkeypatch.setitem(sys.modules, "lpips", None)
    (tmp_path / "some").mkdir()
    for name in ("00001.png", "00003.png", "00003.json"):
        shutil.copy(fast / name, tmp_path / "some")
    shutil.copy(fast / "00004.png", tmp_path / "some" / "another.png")
    assert main(["compare", str(full), str(tmp_path / "some")]) == 0
    told = capsys.readouterr().out
    assert f"  only in {full}: 00000, 00002, 00004\n" in told
    assert f"  only in {tmp_path / 'some'}: another\n" in told
    assert "some: not every picture has its statistics beside it" in told
    assert "no SSIM: scikit-image is not installed" in told
    assert "no LPIPS: lpips is not installed" in told


def test_lpips_is_measured_only_with_its_weights(full, fast, tmp_path, capsys, monkeypatch):
    class LPIPS(torch.nn.Module):  # stands in for the package, whose weights cannot be downloaded here
        def __init__(self, net, verbose):
            super().__init__()
            assert (net, verbose) == ("alex", False)

        def forward(self, a, b, *, normalize):
            assert normalize
            assert a.shape == b.shape == (1, 3, 32, 32)
            return (a - b).abs().mean().reshape(1, 1, 1, 1)

    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=LPIPS))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert main(["compare", str(full), str(fast)]) == 0
    assert (
        f"no LPIPS: torchvision's weights of AlexNet are not in {tmp_path / 'checkpoints'}" in capsys.readouterr().out
    )
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth").touch()
    told = compare(full, fast)
    a, b = (pixels(folder / "00000.png") / 255.0 for folder in (full, fast))
    assert told.pairs[0].lpips == pytest.approx(abs(a - b).mean(), rel=1e-4)
    assert told.remarks == []


def painted(folder, *shapes):
    """A folder with a picture of each shape."""
    folder.mkdir(parents=True)
    for number, shape in enumerate(shapes):
        Image.fromarray(np.full((*shape, 3), 100 + number, dtype=np.uint8)).save(folder / f"{number:05d}.png")
    return folder


def test_pictures_too_small_for_a_measure_are_told(tmp_path):
    told = compare(painted(tmp_path / "one", (6, 9), (20, 20)), painted(tmp_path / "other", (6, 9), (20, 20)))
    assert [pair.psnr for pair in told.pairs] == [np.inf, np.inf]
    assert [pair.ssim for pair in told.pairs] == [None, None]
    assert "no SSIM: it needs 11 pixels a side, 00000 has 9 × 6 pixels" in told.remarks


def test_compare_refuses_videos_whose_frames_differ_in_size(tmp_path, capsys):
    for name in ("one", "other"):
        painted(tmp_path / name / "00000", (16, 16), (16, 17))
    assert main(["compare", str(tmp_path / "one"), str(tmp_path / "other")]) == 2
    assert f"{tmp_path / 'other' / '00000'}: its frames have different sizes" in capsys.readouterr().err


def test_compare_refuses(full, fast, tmp_path, capsys):
    small, empty, others = (tmp_path / name for name in ("small", "empty", "others"))
    for folder in (small, empty, others):
        folder.mkdir()
    Image.fromarray(pixels(fast / "00000.png")[:24, :16]).save(small / "00000.png")
    shutil.copy(fast / "00000.png", others / "cat.png")
    for out, message in [
        (small, f"{small / '00000.png'} has 16 × 24 pixels, {full / '00000.png'} 32 × 32 pixels"),
        (empty, f"{empty} holds no PNG and no folder of PNGs"),
        (others, f"nothing in {others} has a counterpart in {full}"),
        (tmp_path / "nowhere", f"{tmp_path / 'nowhere'} is not a folder"),
    ]:
        assert main(["compare", str(full), str(out)]) == 2
        assert message in capsys.readouterr().err
