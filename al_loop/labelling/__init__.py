"""The bridge to Label Studio: an embedded server, tasks out, labels in.

environment.py  the server's own Python environment, made once per user
server.py       start, stop and look at the embedded server of a workspace
server_state.py where it runs, and its log
place.py        its storages follow a workspace that was moved
launch/         run by the server's own Python: cookies named after the workspace
connection.py   talk to a server, ours or another
api.py          the functions of a server; answers.py: the shapes of its answers; http.py: their bounds
failures.py     one clear message per failure
project.py      the labelling project: its config, its classes
serving.py      how the annotator's browser gets the images
convert.py      Boxes <-> what Label Studio calls a result
push.py         tasks out: a repeat creates nothing twice
pull.py         labels in: one state per task
agreement.py    several people on one image: whose boxes count
users.py        annotators of the embedded server
backup.py       backup and restore of the embedded server; archive.py unpacks what may be anybody's
inspect.py      is a server fit for the loop?
annotator.py    a simulated annotator that works as a person's browser does

Nothing is imported here: the command line must stay quick.
"""
