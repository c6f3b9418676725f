"""Label Studio: send picks as tasks, read their labels.

sync.py        push the picks of a cycle, pull their labels
backend.py     the server of a workspace, and how browsers get its images
open_tasks.py  the project, the task keys and the open tasks of a workspace
check.py       test a server and the images of open tasks
client/        HTTP: connection, requests, checked responses, failures, image addresses
tasks/         project, conversion of boxes, push, pull, agreement between annotators
server/        the embedded server: environment, process, users, backups

Nothing is imported here: the command line must start quickly.
"""
