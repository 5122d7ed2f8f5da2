"""The machinery of `book/build.py`: from MyST text notebooks to a whole, checked website.

Read in the order in which a build uses the files:

1. `layout`    where things lie, atomic writes, the lock of one build at a time
2. `chapters`  what stands in `book/*.md`: notebooks and prose pages
3. `pairs`     `book/*.md` -> `notebooks/*.ipynb`, in that direction only
4. `keys`      the key of a notebook: change anything that can change its outputs, and it runs again
5. `worker`    runs one notebook with papermill, in a process of its own
6. `execute`   starts a worker, keeps what it made, explains what went wrong
7. `runner`    all notebooks: which are stale, several at a time, a progress bar
8. `glance`    the generated tables: "At a glance" and the status page
9. `assemble`  prose + executed notebooks -> the source that Sphinx reads
10. `checks`   what Sphinx does not check: alternative text, nothing from the network, no dead link
11. `site`     build strictly, check, and put the finished site in place in one step
"""
