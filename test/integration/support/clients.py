"""Python's openai, replicate and huggingface_hub against a running service.

Usage: clients.py URL KEY MODEL FOLDER. Writes images to FOLDER, and prints a line of JSON per check.
"""

import base64
import json
import sys
from pathlib import Path

import openai
import replicate
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from replicate.exceptions import ReplicateError

URL, KEY, MODEL, FOLDER = sys.argv[1:]
OWNER, NAME = MODEL.split("/")
PROMPT = "grinning face, flat style"
SETTINGS = {"num_inference_steps": 12, "guidance_scale": 3, "seed": 7}


def tell(check, **values):
    print(json.dumps({"check": check, **values}), flush=True)


def save(name, content):
    (Path(FOLDER) / name).write_bytes(content)


def decoded(image):
    return base64.b64decode(image.b64_json)


def with_openai():
    client = openai.OpenAI(api_key=KEY, base_url=f"{URL}/v1", max_retries=0)
    answer = client.images.generate(
        model=MODEL,
        prompt=PROMPT,
        size="32x32",
        quality="high",
        extra_body=SETTINGS,
    )
    save("openai.png", decoded(answer.data[0]))
    tell("openai", size=answer.size, quality=answer.quality, tokens=answer.usage.total_tokens)
    stream = client.images.generate(
        prompt=PROMPT, stream=True, partial_images=2, extra_body=SETTINGS
    )
    events = list(stream)
    tell("openai stream", events=[event.type for event in events])
    tell("openai models", ids=[model.id for model in client.models.list()])
    try:
        client.images.generate(prompt=PROMPT, background="transparent")
    except openai.BadRequestError as error:
        tell("openai error", param=error.param, status=error.status_code)


def with_replicate():
    client = replicate.Client(api_token=KEY, base_url=URL)
    [link] = client.run(MODEL, input={"prompt": PROMPT, "width": 32, **SETTINGS})
    save("replicate.png", client._client.get(str(link)).content)
    prediction = client.predictions.create(
        model=MODEL, input={"prompt": PROMPT, **SETTINGS}, wait=True
    )
    prediction.wait()
    progress = prediction.progress
    tell("replicate prediction", status=prediction.status, progress=progress.percentage)
    kinds = {event.event.value for event in client.stream(MODEL, input={"prompt": PROMPT, **SETTINGS})}
    tell("replicate stream", kinds=sorted(kinds))
    model = client.models.get(OWNER, NAME)
    version = model.versions.list().results[0]
    tell(
        "replicate model",
        latest=model.latest_version.id == version.id,
        same=model.versions.get(version.id).id == version.id,
        found=[found.name for found in client.models.search("vqd checkpoint").results],
        missed=client.models.search("flux").results,
        hardware=client.hardware.list(),
        collections=list(client.collections.list().results),
        account=client.accounts.current().username,
    )
    file = client.files.create(Path(FOLDER) / "openai.png")
    client.run(MODEL, input={"prompt": PROMPT, "image": file.urls["get"], **SETTINGS})
    tell(
        "replicate file",
        type=file.content_type,
        same=client.files.get(file.id).id == file.id,
        listed=file.id in [each.id for each in client.files.list()],
        deleted=client.files.delete(file.id),
    )
    deployment = client.deployments.get(MODEL)
    through = deployment.predictions.create(input={"prompt": PROMPT, **SETTINGS})
    through.wait()
    tell(
        "replicate deployment",
        model=deployment.current_release.model,
        number=len(client.deployments.list().results),
        status=through.status,
    )
    waiting = client.predictions.create(
        model=MODEL, input={"prompt": PROMPT, "num_outputs": 10, "num_inference_steps": 100}
    )
    waiting.cancel()
    listed = client.predictions.list().results
    tell("replicate list", first=listed[0].id == waiting.id, status=listed[0].status)
    try:
        client.run(MODEL, input={"prompt": PROMPT, "steps": 5})
    except ReplicateError as error:
        tell("replicate error", status=error.status, detail=error.detail)


def with_huggingface():
    client = InferenceClient(model=URL, token=KEY)
    image = client.text_to_image(PROMPT, width=32, **SETTINGS)
    image.save(Path(FOLDER) / "huggingface.png")
    try:
        client.text_to_image("a", num_inference_steps=0)
    except HfHubHTTPError as error:
        tell("huggingface error", status=error.response.status_code, message=str(error))


with_openai()
with_replicate()
with_huggingface()
