"""A run as an RO-Crate: a Process Run Crate (version 0.5), which workflow tools and archives can read.

Source: https://w3id.org/ro/wfrun/process/0.5 and the RO-Crate specification 1.1.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from labkit import __version__
from labkit.runs.record import RECORD, Chapter, Run
from labkit.show import stamp

_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_NOTEBOOK = "application/x-ipynb+json"
_STATUS = {"passed": "CompletedActionStatus", "failed": "FailedActionStatus"}


def write_crate(run: Run, published: datetime) -> None:
    """Write ``ro-crate-metadata.json`` into the run directory: one action a chapter, by labkit."""
    from rocrate.model.contextentity import ContextEntity
    from rocrate.rocrate import ROCrate

    crate = ROCrate(gen_preview=False, version="1.1")
    crate.name = f"labkit run {run.directory.name}"
    mark = stamp(run.reported.trust) if run.reported.trust else ""
    crate.description = f"{mark}Notebooks run by labkit, with their outputs, their site and their provenance."
    crate.datePublished = published
    profile = {"@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
    crate.root_dataset["conformsTo"] = crate.add(ContextEntity(crate, _PROFILE, properties=profile))
    tool = {"@type": "SoftwareApplication", "name": "labkit", "softwareVersion": __version__}
    labkit = crate.add(ContextEntity(crate, "#labkit", properties=tool))
    licence = {
        "@type": "CreativeWork",
        "name": "no licence stated",
        "description": "Whoever publishes this run says under which licence. labkit is under Apache-2.0.",
    }
    crate.root_dataset["license"] = crate.add(ContextEntity(crate, "#licence", properties=licence))
    crate.add_file(dest_path=RECORD, properties=_file(RECORD, "application/json"))
    if run.site is not None:
        crate.add_file(dest_path=run.site, properties=_file("site of the run", "text/html"))
    for chapter in run.chapters:
        _add_chapter(crate, labkit, chapter)
    crate.metadata.write(run.directory)


def _add_chapter(crate: Any, labkit: Any, chapter: Chapter) -> None:
    from rocrate.model.contextentity import ContextEntity

    results = [crate.add_file(dest_path=name, properties=_file(name)) for name in chapter.results]
    if chapter.output is not None:
        properties = _file(chapter.title, _NOTEBOOK) | {"sha256": chapter.output_sha256}
        results.insert(0, crate.add_file(dest_path=chapter.output, properties=properties))
    source = {"@type": "CreativeWork", "name": chapter.source, "sha256": chapter.source_sha256}
    objects = [crate.add(ContextEntity(crate, f"#source-{chapter.name}", properties=source))]
    for name, value in chapter.parameters.items():
        parameter = {"@type": "PropertyValue", "name": name, "value": str(value)}
        identifier = f"#parameter-{chapter.name}-{name}"
        objects.append(crate.add(ContextEntity(crate, identifier, properties=parameter)))
    ended = datetime.fromisoformat(chapter.started) + timedelta(seconds=chapter.seconds)
    action = {
        "name": chapter.title,
        "description": f"labkit executed {chapter.source}: {chapter.status}.",
        "startTime": chapter.started,
        "endTime": ended.isoformat(timespec="seconds"),
        "actionStatus": f"http://schema.org/{_STATUS.get(chapter.status, 'FailedActionStatus')}",
    }
    crate.root_dataset.append_to(
        "mentions",
        crate.add_action(
            labkit,
            identifier=f"#run-{chapter.name}",
            object=_compact(objects),
            result=_compact(results),
            properties=action,
        ),
    )


def _compact(entities: list[Any]) -> Any:
    """One entity stands alone, as RO-Crate wants its JSON."""
    return entities[0] if len(entities) == 1 else entities


def _file(name: str, encoding: str = "application/json") -> dict[str, Any]:
    return {"name": name, "encodingFormat": encoding}
