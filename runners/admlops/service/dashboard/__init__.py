"""The dashboard: pages made on the server, kept up to date by server-sent events, and curves.

It may import the service's queue, jobs and result tables, and what the service may. Begin with `part.py` (its
addresses), then `live/hub.py` (how one watch of the queue reaches every open page).
"""
