"""Has FiftyOne's own importers load a folder, and prints what they made of it."""

import json
import sys

import fiftyone as fo


def temporal(labels):
    return labels and [[each.label, each.support] for each in labels.detections]


def boxes(sample, field):
    return {
        number: [[each.label, each.index, each.bounding_box] for each in frame[field].detections]
        for number, frame in sample.frames.items()
        if frame[field] is not None
    }


def main(folder):
    dataset = fo.Dataset.from_dir(dataset_dir=folder, dataset_type=fo.types.FiftyOneDataset, progress=False)
    metadata = {sample.id: sample.metadata.to_dict() for sample in dataset}
    samples = [
        {
            "filepath": sample.filepath,
            "media_type": sample.media_type,
            **{
                name: sample[name] for name in ("clip", "rank", "score", "percentile", "end", "caption", "note", "tags")
            },
            "verdict": sample.verdict and sample.verdict.label,
            "decision": sample.decision and sample.decision.label,
            "motion": temporal(sample.motion),
            "review": temporal(sample.review),
            "frames_motion": boxes(sample, "motion"),
            "frames_review": boxes(sample, "review"),
            "manifest_motion": sample.manifest_motion,
            "metadata": metadata[sample.id],
        }
        for sample in dataset
    ]
    first = dataset.sort_by("rank").first()
    first["note"] = "changed"
    first.frames[1]["seen"] = fo.Detections(detections=[fo.Detection(label="x", bounding_box=[0, 0, 1, 1])])
    first.save()
    counts = {
        "by_verdict": dataset.match(fo.ViewField("verdict.label") == "unrealistic").count(),
        "scores": dataset.bounds("score"),
        "boxes": dataset.count("frames.motion.detections"),
        "clips": [clip.support for clip in dataset.to_clips("review")],
        "changed": dataset.match({"note": "changed"}).count(),
    }
    dataset.add_dir(folder, fo.types.FiftyOneDataset, progress=False)
    counts["after_adding_it_again"] = len(dataset)
    dataset.compute_metadata(overwrite=True, progress=False)
    own = {sample.clip: sample.metadata and sample.metadata.to_dict() for sample in dataset}
    ranges = fo.Dataset.from_dir(
        dataset_dir=folder, dataset_type=fo.types.FiftyOneTemporalDetectionDataset, progress=False
    )
    table = fo.Dataset.from_dir(dataset_dir=folder, dataset_type=fo.types.CSVDataset, progress=False)
    print(
        json.dumps(
            {
                "version": fo.__version__,
                "info": dataset.info,
                "samples": samples,
                "counts": counts,
                "own_metadata": own,
                "ranges": {sample.filepath: temporal(sample.ground_truth) for sample in ranges},
                "table": {sample.filepath: [sample.rank, sample.score, sample.note] for sample in table},
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
