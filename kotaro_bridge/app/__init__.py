"""The composition root: `product.py` puts the layers together, `this_pc.py` says on which PC, `session.py` starts."""
