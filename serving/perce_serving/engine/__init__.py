"""The server: vLLM's OpenAI-compatible one, the store behind it and the tenant layer before it.

Of this project, only modules of this folder import vLLM.

``command``     ``perce-serve``: reads the options and starts vLLM's server in this process.
``settings``    what the command was told, carried to vLLM's processes by an environment variable.
``plugin``      what vLLM loads in each of its processes: the resolver, and a fix for the CPU.
``middleware``  what vLLM puts before its application: the tenant layer, and the collection loop.
"""
