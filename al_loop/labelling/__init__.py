"""Label Studio: picks out as tasks, labels in.

sync.py        pushes the picks of a cycle, pulls their labels
backend.py     which server a workspace uses, and how browsers get its images
open_tasks.py  which tasks are open, and whether their images can be seen
check.py       examines whether a server is fit for the loop
client/        HTTP: connection, requests, checked responses, failures, image addresses
tasks/         project, conversion of boxes, push, pull, agreement of annotators
server/        the embedded server: environment, process, users, backups

Nothing is imported here: the command line must start quickly.
"""
