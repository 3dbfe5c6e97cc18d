from .catalogue import load as load, names as names
