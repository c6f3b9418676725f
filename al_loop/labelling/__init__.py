"""Label Studio: sends picks as tasks, reads labels.

sync.py        push the picks of a cycle, pull their labels
backend.py     the server of a workspace, and how browsers get its images
open_tasks.py  project, task keys and open tasks of a workspace
check.py       test a server, and the images of open tasks
client/        HTTP: connection, requests, checked responses, failures, image addresses
tasks/         project, conversion of boxes, push, pull, agreement of annotators
server/        the embedded server: environment, process, users, backups

Nothing is imported here: the command line must start quickly.
"""
