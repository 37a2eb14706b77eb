"""Who holds which GPU.

Belongs here: the Ledger, a value that is folded over what the kubelet asked for and what it
says its pods hold, and what follows from it for what may be offered.

Does not belong here: asking the kubelet (``serving``), the offer itself (``planning``).
"""
