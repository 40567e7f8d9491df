# %% [markdown]
# # Walk-through
#
# From a video to masks, step by step, with what each step gives. This page is a program: `docs/walkthrough.py` is run by
# `python docs/render.py`, which writes down what it prints and draws.
#
# ## A video is frames and sound
#
# The clip of the README: ten seconds of a drawn world. The reader takes frames by presentation time and the sound as 16 kHz
# mono on the same clock.
# %%
import numpy as np
import torch

from sonomask.media.reader import VideoReader

with VideoReader("examples/three_things.mp4") as reader:
    frames = list(reader.frames(1.0))  # one a second
    waveform = np.concatenate(list(reader.waveform()))
print(reader.info.width, "×", reader.info.height, "at", reader.info.fps, "per second")
print(len(frames), "frames,", f"{len(waveform) / 16_000:.1f} s of sound")
# %%
from sonomask.visualise.sheets import contact_sheet

images, times = [frame.image for frame in frames], [frame.time for frame in frames]
show(contact_sheet(images[::2], times[::2]), "frames")  # noqa: F821
# %% [markdown]
# ## What a model hears
#
# A log-mel picture: time runs to the right in steps of 10 ms, 64 bands from low to high. Five stretches of two seconds can be
# told apart by eye; in the fourth there is only a faint hum.
# %%
from sonomask.audio.logmel import log_mel

mel = log_mel(torch.from_numpy(waveform))
print(tuple(mel.shape), f"from {mel.min():.1f} to {mel.max():.1f}")
show(mel.T.flip(0).numpy(), "logmel", scale=3)  # noqa: F821
# %% [markdown]
# ## A model
#
# The built-in one that knows this drawn world, and nothing else.
# %%
import sonomask

model = sonomask.load("avs_mini.synthetic")
print(model.config.name, "at", model.config.image_size, "clips of", model.config.clip_length, "s")
print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} million parameters")
# %% [markdown]
# ## Masks
#
# A `Segmenter` goes through a video of any length and gives probabilities at the video's own size.
# %%
segmenter = sonomask.Segmenter(model, rate=1.0)
found = list(segmenter("examples/three_things.mp4"))
for masks in found:
    share = masks.mask.mean()
    print(f"{masks.times[0]:5.2f} s  {share:6.1%}  {'#' * round(200 * share)}".rstrip())
# %%
from sonomask.visualise.overlay import overlay

marked = [overlay(image, masks.mask[0]) for image, masks in zip(images, found, strict=True)]
show(contact_sheet(marked[::2], times[::2]), "masks")  # noqa: F821
# %% [markdown]
# The mask is where the probability is above the threshold. Before it, what the model thinks:
# %%
from sonomask.visualise.sheets import heated

heat = [heated(image, masks.probability[0]) for image, masks in zip(images, found, strict=True)]
show(contact_sheet(heat[::2], times[::2]), "heat")  # noqa: F821
# %% [markdown]
# ## How good is it?
#
# The drawn world knows the truth. Intersection over union of each frame, as AVSBench counts it (in silence, the background's):
# %%
import runpy

from sonomask.metrics import jaccard

scene = runpy.run_path("examples/make_example.py")["three_things"]()
truth = torch.stack([torch.from_numpy(scene.frame(time)[1] > 0) for time in times])
iou = jaccard(torch.from_numpy(np.concatenate([masks.probability for masks in found])).logit(), truth)[0]
print(" ".join(f"{value:.2f}" for value in iou.tolist()), f" mean {iou.mean():.2f}")
# %% [markdown]
# Every second frame is bad, and for a reason: it lies 0.06 s before the sound changes, so nearly half of the 0.96 s around it
# is the next thing's. At a higher rate such frames are few; a model can't know earlier than it hears.
#
# ## Does it listen?
#
# The same frames, and silence in place of the sound: nothing should be marked.
# %%
from sonomask.audio.logmel import examples_at

mean, std = (torch.tensor(v)[:, None, None] for v in (model.config.mean, model.config.std))
small = [torch.from_numpy(frame.image).movedim(-1, 0)[None] / 255 for frame in frames[:5]]
clip = torch.cat([torch.nn.functional.interpolate(x, model.config.image_size, mode="area") for x in small])
for name, sound in (("its own sound", waveform), ("silence", np.zeros_like(waveform))):
    patches = examples_at(torch.from_numpy(sound), times[:5], align="centre")
    with torch.inference_mode():
        logits = model(((clip - mean) / std)[None], patches[None]).logits
    print(f"{name}: {(logits > 0).float().mean():.1%} of the pixels are marked")
# %% [markdown]
# ## One command
#
# All of it, with any of the [formats](trips/segment.md#choose-what-to-write):
# %%
result = sonomask.segment(
    "examples/three_things.mp4", "results", model, rate=1, formats=["overlay", "masks", "scores"], overwrite=True
)
for name, path in result.files.items():
    print(f"{name}: {path.as_posix()}")
show(result.files["scores"], "scores")  # noqa: F821
