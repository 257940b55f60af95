"""The dashboard: pages made on the server, kept up to date by server-sent events, and curves.

Begin with `part.py` (its addresses), then `live/hub.py` (how one watch of the queue reaches every open page).
"""
