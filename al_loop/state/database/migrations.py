"""Schema of the workspace's database, as numbered migrations."""

from __future__ import annotations

# Statement of the triggers on labels.
_TO_HISTORY = """INSERT INTO label_history (image_id, status, boxes, cycle, annotator, lead_time_s,
                                   updated_at, outlines, ignored, role, sets, replaced_at, reason)
        SELECT image_id, status, boxes, cycle, annotator, lead_time_s, updated_at, outlines, ignored,
               role, sets, strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now'), '{reason}'
        FROM full_labels WHERE image_id = {image};"""
# Each entry raises the schema by one version. Never change the effect of a released entry. Append new
# entries.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE images (
        id TEXT PRIMARY KEY,              -- SHA-256 of the file as it came in
        file TEXT NOT NULL,               -- below the workspace
        stored_sha256 TEXT NOT NULL,      -- differs from id where the EXIF orientation was applied
        width INTEGER NOT NULL, height INTEGER NOT NULL,  -- px, as stored
        source TEXT NOT NULL,             -- the path it came from
        role TEXT NOT NULL CHECK (role IN ('pool', 'validation')),
        added_at TEXT NOT NULL
    ) STRICT;
    CREATE INDEX images_role ON images (role);

    CREATE TABLE labels (
        image_id TEXT PRIMARY KEY REFERENCES images (id),
        status TEXT NOT NULL CHECK (status IN ('labelled', 'empty', 'skipped')),
        boxes TEXT NOT NULL,              -- JSON [[x1, y1, x2, y2, class index], ...] in px
        cycle INTEGER,                    -- NULL: came with the validation set
        annotator TEXT,
        lead_time_s REAL,
        updated_at TEXT NOT NULL
    ) STRICT;

    CREATE TABLE models (
        id TEXT PRIMARY KEY,
        parent TEXT REFERENCES models (id),
        origin TEXT NOT NULL,             -- 'pretrain', 'import' or 'cycle'
        cycle INTEGER,
        weights_sha256 TEXT NOT NULL,
        created_at TEXT NOT NULL
    ) STRICT;

    CREATE TABLE evaluations (
        model_id TEXT NOT NULL REFERENCES models (id),
        validation_hash TEXT NOT NULL,
        metrics TEXT NOT NULL,            -- JSON of al_loop.structures.images.Metrics
        PRIMARY KEY (model_id, validation_hash)
    ) STRICT;

    CREATE TABLE promotions (             -- the newest row names the current model
        id INTEGER PRIMARY KEY,
        model_id TEXT NOT NULL REFERENCES models (id),
        reason TEXT NOT NULL,
        at TEXT NOT NULL
    ) STRICT;

    CREATE TABLE cycles (
        number INTEGER PRIMARY KEY,
        k INTEGER NOT NULL,               -- as asked for
        settings TEXT NOT NULL,           -- JSON, frozen when the cycle began
        model_id TEXT NOT NULL REFERENCES models (id),
        outcome TEXT,                     -- NULL while it runs; 'promoted' or 'kept'
        reason TEXT,
        started_at TEXT NOT NULL, finished_at TEXT
    ) STRICT;

    CREATE TABLE picks (
        cycle INTEGER NOT NULL REFERENCES cycles (number),
        rank INTEGER NOT NULL,
        image_id TEXT NOT NULL REFERENCES images (id),
        uncertainty REAL NOT NULL,
        reason TEXT NOT NULL,
        task_key TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL DEFAULT 'selected',  -- then what the labelling server says
        PRIMARY KEY (cycle, rank), UNIQUE (cycle, image_id)
    ) STRICT;

    CREATE TABLE stages (
        job TEXT NOT NULL,                -- 'cycle-3', 'pretrain', ...
        name TEXT NOT NULL,
        input_hash TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('running', 'waiting', 'done', 'failed')),
        output TEXT,                      -- JSON, once done
        pid INTEGER, started_at TEXT NOT NULL, finished_at TEXT,
        PRIMARY KEY (job, name)
    ) STRICT;

    CREATE TABLE datasets (
        name TEXT PRIMARY KEY,            -- folder below synthetic/
        recipe TEXT NOT NULL, images INTEGER NOT NULL, created_at TEXT NOT NULL
    ) STRICT;

    CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    """,
    """
    ALTER TABLE images ADD COLUMN arrived INTEGER;    -- 1, 2, ... as they came; clocks may jump
    UPDATE images SET arrived = rowid;
    CREATE UNIQUE INDEX images_arrived ON images (arrived);

    -- The last image that had arrived when it happened.
    ALTER TABLE cycles ADD COLUMN arrived INTEGER NOT NULL DEFAULT 0;
    UPDATE cycles SET arrived =
        coalesce((SELECT max(i.arrived) FROM images i WHERE i.added_at <= cycles.started_at), 0);
    ALTER TABLE promotions ADD COLUMN arrived INTEGER NOT NULL DEFAULT 0;
    UPDATE promotions SET arrived =
        coalesce((SELECT max(i.arrived) FROM images i WHERE i.added_at <= promotions.at), 0);

    ALTER TABLE picks ADD COLUMN audit INTEGER NOT NULL DEFAULT 0;  -- 1: drawn at random
    ALTER TABLE models ADD COLUMN removed_at TEXT;                  -- its files were deleted by gc

    CREATE TABLE sets (               -- labelled images for evaluation, never for training
        name TEXT NOT NULL, image_id TEXT NOT NULL REFERENCES images (id),
        PRIMARY KEY (name, image_id)
    ) STRICT;
    INSERT INTO sets SELECT 'validation', id FROM images WHERE role = 'validation';
    ALTER TABLE evaluations ADD COLUMN set_name TEXT NOT NULL DEFAULT 'validation';

    CREATE TABLE inbox (              -- files that the monitor has seen
        path TEXT PRIMARY KEY,        -- or URL
        size INTEGER NOT NULL, stamp TEXT NOT NULL,  -- both as last seen; another pair is another file
        state TEXT NOT NULL CHECK (state IN ('waiting', 'taken', 'refused')),
        note TEXT NOT NULL, seen_at TEXT NOT NULL
    ) STRICT;

    CREATE TABLE baselines (          -- what a model in use was promoted on, drawn once
        promotion INTEGER PRIMARY KEY REFERENCES promotions (id),
        arrived INTEGER NOT NULL,     -- windows begin behind it
        drawn TEXT NOT NULL           -- JSON {name: [image id, ...]}
    ) STRICT;

    CREATE TABLE windows (            -- images as they came, each window tested once
        id INTEGER PRIMARY KEY,
        promotion INTEGER NOT NULL REFERENCES promotions (id),
        arrived INTEGER NOT NULL,     -- its last image
        images TEXT NOT NULL,         -- JSON [image id, ...]
        signals TEXT NOT NULL,        -- JSON of al_loop.monitor.drift_tests.Signal
        drifted INTEGER NOT NULL, at TEXT NOT NULL
    ) STRICT;

    CREATE TABLE alarms (
        id INTEGER PRIMARY KEY,
        trigger TEXT NOT NULL, reason TEXT NOT NULL,
        promotion INTEGER NOT NULL REFERENCES promotions (id),
        cycle INTEGER NOT NULL,       -- the last that had begun; a later one answers the alarm
        first_window INTEGER REFERENCES windows (id),  -- of drift: where it begins
        at TEXT NOT NULL
    ) STRICT;

    CREATE TABLE looks (              -- every look of the monitor at which something was new
        id INTEGER PRIMARY KEY,
        at TEXT NOT NULL, model_id TEXT NOT NULL,
        arrived INTEGER NOT NULL,     -- the last image that it saw
        numbers TEXT NOT NULL,        -- JSON, of the images that were new
        verdicts TEXT NOT NULL,       -- JSON of al_loop.monitor.triggers.Verdict
        cycle INTEGER                 -- that it began
    ) STRICT;
    """,
    """
    -- JSON, one for each of `boxes`: COCO's segmentation in px, or null; NULL: nobody has drawn one
    ALTER TABLE labels ADD COLUMN outlines TEXT;
    """,
    f"""
    CREATE TABLE ignore_regions (     -- where objects are neither to be found nor wrong to find
        image_id TEXT PRIMARY KEY REFERENCES images (id),
        boxes TEXT NOT NULL           -- as in labels
    ) STRICT;

    CREATE TABLE label_history (      -- labels that were replaced or taken back
        id INTEGER PRIMARY KEY,
        image_id TEXT NOT NULL REFERENCES images (id),
        status TEXT NOT NULL, boxes TEXT NOT NULL, cycle INTEGER, annotator TEXT, lead_time_s REAL,
        updated_at TEXT NOT NULL, outlines TEXT,
        ignored TEXT,                 -- its ignore regions then
        role TEXT NOT NULL,           -- of the image then
        sets TEXT NOT NULL,           -- JSON [name, ...] of the sets that it was in then
        replaced_at TEXT NOT NULL,
        reason TEXT NOT NULL,         -- 'pull', 'taken back', or the command
        batch INTEGER                 -- rows of one command share it; NULL: replaced by a pull
    ) STRICT;
    CREATE INDEX label_history_image ON label_history (image_id);

    CREATE VIEW full_labels AS
    SELECT l.image_id, l.status, l.boxes, l.cycle, l.annotator, l.lead_time_s, l.updated_at, l.outlines,
           r.boxes AS ignored, i.role,
           (SELECT json_group_array(s.name) FROM sets s WHERE s.image_id = l.image_id) AS sets
    FROM labels l JOIN images i ON i.id = l.image_id LEFT JOIN ignore_regions r ON r.image_id = l.image_id;

    -- The database keeps replaced labels itself: no statement can forget it. INSERT OR REPLACE fires no
    -- trigger for the row that it deletes.
    CREATE TRIGGER labels_replaced BEFORE INSERT ON labels
    WHEN EXISTS (
        SELECT 1 FROM labels l WHERE l.image_id = NEW.image_id
        AND (l.status, l.boxes, l.outlines) IS NOT (NEW.status, NEW.boxes, NEW.outlines)
    )
    BEGIN
        {_TO_HISTORY.format(reason="pull", image="NEW.image_id")}
    END;
    CREATE TRIGGER labels_updated BEFORE UPDATE ON labels
    WHEN (OLD.status, OLD.boxes, OLD.outlines) IS NOT (NEW.status, NEW.boxes, NEW.outlines)
    BEGIN
        {_TO_HISTORY.format(reason="pull", image="OLD.image_id")}
    END;
    CREATE TRIGGER labels_deleted BEFORE DELETE ON labels
    BEGIN
        {_TO_HISTORY.format(reason="taken back", image="OLD.image_id")}
    END;

    CREATE TABLE pixels (             -- of the images that were compared so far
        image_id TEXT NOT NULL REFERENCES images (id),
        source TEXT NOT NULL CHECK (source IN ('stored', 'original')),  -- original: before encoding
        sha256 TEXT NOT NULL,         -- of al_loop.images.identity.pixels_sha256
        PRIMARY KEY (image_id, source)
    ) STRICT;
    CREATE INDEX pixels_sha256 ON pixels (sha256);
    CREATE INDEX images_stored ON images (stored_sha256) WHERE stored_sha256 != id;
    """,
    """
    ALTER TABLE models ADD COLUMN config_sha256 TEXT;  -- of config.json; NULL: config.py of an older al-loop
    """,
    """
    -- Expected hashes of files; no row: an older al-loop wrote the file.
    CREATE TABLE written_files (
        path TEXT PRIMARY KEY,        -- below the workspace: cycles/<n>/pool.json, cycles/<n>/manifest.json
        sha256 TEXT NOT NULL
    ) STRICT;
    CREATE TABLE journals (           -- lines of the journals of predictions
        folder TEXT NOT NULL,         -- below the workspace
        line INTEGER NOT NULL,        -- from 0
        sha256 TEXT NOT NULL,
        PRIMARY KEY (folder, line)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    -- No table changes: settings were renamed, and al-loop.toml is rewritten before this.
    """,
    """
    -- Images that a cycle draws for the validation set, if there is none when it begins.
    ALTER TABLE cycles ADD COLUMN validation_images INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE picks ADD COLUMN validation INTEGER NOT NULL DEFAULT 0;  -- 1: for the validation set
    """,
    """
    -- Answers of people about single boxes of a model.
    CREATE TABLE verdicts (
        image_id TEXT NOT NULL REFERENCES images (id),
        box TEXT NOT NULL,            -- JSON [x1, y1, x2, y2, class index] in px, as the model predicted it
        model_id TEXT NOT NULL,
        score REAL NOT NULL,
        verdict TEXT NOT NULL CHECK (verdict IN ('right', 'wrong', 'class', 'off')),
        label INTEGER NOT NULL,       -- class index; differs from that of the box if the verdict is 'class'
        session TEXT NOT NULL,        -- of all answers between start and end of the page
        seconds REAL NOT NULL,
        answered_at TEXT NOT NULL,
        PRIMARY KEY (image_id, box)
    ) STRICT;
    """,
    """
    CREATE TABLE fingerprints (       -- of the images that were compared so far; alike for near-duplicates
        image_id TEXT PRIMARY KEY REFERENCES images (id),
        bits INTEGER NOT NULL         -- 64 bits as a signed number
    ) STRICT, WITHOUT ROWID;
    """,
)
#: From this version on, al-loop.toml has the names of al-loop 0.2.
SETTINGS_RENAMED = 7
#: Oldest schema that can be read without a migration: later schemas only add columns with defaults.
OLDEST_READABLE = 6
