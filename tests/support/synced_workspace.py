"""A workspace whose tasks are on the real server, and the requests of its annotators."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs
from support.labelling_tasks import Running, push_cycle, request

from al_loop.images import repository
from al_loop.labelling import sync
from al_loop.labelling.backend import server_name
from al_loop.labelling.client.responses import Json
from al_loop.labelling.tasks.push import batch_filter
from al_loop.state.workspace import Workspace


class Line:
    """A workspace at the real server, with cycles of two picks each."""

    def __init__(
        self, workspace: Workspace, running: Running, url: str | None = None, name: str | None = None
    ) -> None:
        settings = structs.replace(workspace.config.label_studio, url=url or running.info.url)
        name = name or workspace.root.parent.name[-40:]
        config = structs.replace(workspace.config, name=name, label_studio=settings)
        self.workspace, self.running = Workspace(workspace.root, config, workspace.store), running
        self.project = 0

    def push(self, cycle: int, gold: Sequence[str] = ()) -> list[str]:
        self.project, images = push_cycle(self.workspace, cycle, gold)
        return images

    def pull(self, cycle: int, gold: Sequence[str] = ()) -> sync.PullResult:
        return sync.pull_labels(self.workspace, cycle, server_name(self.workspace), self.project, gold)

    def finish(self, cycle: int) -> None:
        self.workspace.store.execute("UPDATE cycles SET outcome = 'kept' WHERE number = ?", cycle)

    def task(self, cycle: int, image: str) -> Json:
        with self.running.info.connection.open() as api:
            there = api.tasks(self.project, batch_filter(sync.batch_name(self.workspace, cycle)), whole=True)
        (found,) = [t for t in there if t["data"]["image_id"] == image]
        return found

    def request(self, method: str, path: str, body: Json | None = None) -> Json:
        answer = request(self.running.info, method, f"api/{path}", body).raise_for_status()
        return dict(answer.json()) if answer.content else {}

    def submit(self, cycle: int, image: str, x: float = 10.0) -> int:
        value = {"x": x, "y": 10, "width": 20, "height": 20, "rotation": 0, "rectanglelabels": ["bolt"]}
        region = {
            "id": "r", "from_name": "label", "to_name": "image", "type": "rectanglelabels",
            "image_rotation": 0, "original_width": 96, "original_height": 64, "value": value,
        }  # fmt: skip
        return int(
            self.request("POST", f"tasks/{self.task(cycle, image)['id']}/annotations/", {"result": [region]})[
                "id"
            ]
        )

    def labels(self) -> dict[str, list[list[float]]]:
        return {item.image.id: item.boxes.xyxy.tolist() for item in repository.labelled(self.workspace)}
