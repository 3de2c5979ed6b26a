"""`unnoise serve`: every installed domain over HTTP, and a playground on the same server.

    web ── bodies, uploads ──> Ticket ──> Desk: a bounded queue, one worker process per device
     ^                                          │ groups of tickets that may share a batch
     └───── events: progress, looks, files <── worker: prepares, runs, writes

The server reads and checks; a worker generates. A worker that is killed is started anew, and what
it was working on is answered with 503. Requests and answers live in a folder each, under one that
goes with the server.
"""
